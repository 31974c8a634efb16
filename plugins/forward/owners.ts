import { ChurningMap } from '../../protocol/churn.ts'
import type { Clock } from '../../protocol/clock.ts'
import { Recent } from '../../protocol/recent.ts'

/** Streams that have left and are remembered at once; the oldest are forgotten first. */
const MAX_FORMER = 65_536

/**
 * Whose streams are here, or have been within the resume window: to know an attempt on another user's. It decides
 * nothing: whether a stream is somebody's is for its acceptor to say.
 */
export class StreamOwners {
  readonly #present = new ChurningMap<string, { userId: string; relays: number }>()
  /** Whose they were. */
  readonly #former: Recent<string>

  constructor(keepMs: number, clock: Clock) {
    this.#former = new Recent(clock, keepMs, MAX_FORMER)
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
      this.#former.add(id, userId)
    }
  }

  /** Whether a stream of this id is, or was of late, somebody else's. */
  isForeign(id: string, userId: string): boolean {
    const owner = this.#present.get(id)?.userId ?? this.#former.get(id)
    return owner !== undefined && owner !== userId
  }
}
