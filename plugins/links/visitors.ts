import type { Clock } from '../../protocol/clock.ts'

/** How long a user whose request was answered is taken for one who is still there, in ms. */
const STAY_MS = 60_000

interface Visit {
  readonly userId: string
  readonly atMs: number
}

/** Users who ask by plain HTTP, without a link: whether one of them was here a moment ago. */
export class Visitors {
  readonly #clock: Clock
  #last: Visit | undefined
  /** The last one who is somebody else. */
  #other: Visit | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  seen(userId: string): void {
    if (this.#last?.userId !== userId) this.#other = this.#last
    this.#last = { userId, atMs: this.#clock.now() }
  }

  hasOther(userId: string): boolean {
    const visit = this.#last?.userId === userId ? this.#other : this.#last
    return visit !== undefined && this.#clock.now() - visit.atMs < STAY_MS
  }
}
