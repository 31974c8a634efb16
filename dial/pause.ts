import type { Clock } from '../protocol/clock.ts'

/** A wait that can be cut short. */
export class Pause {
  readonly over: Promise<void>
  readonly #clock: Clock
  readonly #timer: unknown
  #resolve!: () => void

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.over = new Promise((resolve) => {
      this.#resolve = resolve
    })
    this.#timer = clock.setTimer(this.#resolve, ms)
  }

  end(): void {
    this.#clock.clearTimer(this.#timer)
    this.#resolve()
  }
}
