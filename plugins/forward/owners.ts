import type { Clock } from '../../protocol/clock.ts'

/** Streams that have left and are remembered at once; the oldest are forgotten first. */
const MAX_FORMER = 65_536

/**
 * Whose streams are here, or have been within the resume window: to know an attempt on another user's. It decides
 * nothing: whether a stream is somebody's is for its acceptor to say.
 */
export class StreamOwners {
  readonly #keepMs: number
  readonly #clock: Clock
  readonly #present = new Map<string, { userId: string; relays: number }>()
  readonly #former = new Map<string, { userId: string; atMs: number }>()

  constructor(keepMs: number, clock: Clock) {
    this.#keepMs = keepMs
    this.#clock = clock
  }

  /** Its acceptor has taken the stream: it is this user's. Call what is returned when it has left. */
  add(id: string, userId: string): () => void {
    const present = this.#present.get(id) ?? { userId, relays: 0 }
    if (present.userId !== userId) return () => {}
    this.#present.set(id, present)
    present.relays++
    return () => {
      present.relays--
      if (present.relays > 0) return
      this.#present.delete(id)
      this.#remember(id, userId)
    }
  }

  #remember(id: string, userId: string): void {
    const now = this.#clock.now()
    this.#former.delete(id)
    this.#former.set(id, { userId, atMs: now })
    for (const [oldest, { atMs }] of this.#former) {
      if (now - atMs <= this.#keepMs && this.#former.size <= MAX_FORMER) return
      this.#former.delete(oldest)
    }
  }

  /** Whether a stream of this id is, or was of late, somebody else's. */
  isForeign(id: string, userId: string): boolean {
    const former = this.#former.get(id)
    const isRecent = former !== undefined && this.#clock.now() - former.atMs <= this.#keepMs
    const owner = this.#present.get(id) ?? (isRecent ? former : undefined)
    return owner !== undefined && owner.userId !== userId
  }
}
