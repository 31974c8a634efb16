import type { Clock } from './clock.ts'
import { TokenBucket } from './token-bucket.ts'

export interface LineRate {
  /** Lines of one kind that are written in a row. @default 100 */
  burst?: number
  /** And how many when there are more. @default 5 */
  perSecond?: number
}

interface Kind {
  bucket: TokenBucket
  left: number
}

/**
 * Which lines of a kind are written when strangers can cause as many as they like. Those that are left out are counted,
 * and the next line of their kind says how many there were.
 */
export class LineSampler<Key> {
  readonly #clock: Clock
  readonly #rate: LineRate
  /** As many as there are kinds: a key must not be a stranger's to choose. */
  readonly #kinds = new Map<Key, Kind>()

  constructor(clock: Clock, rate: LineRate = {}) {
    this.#clock = clock
    this.#rate = rate
  }

  /** How many lines of this kind were left out since the last one, or undefined when this one is left out too. */
  take(key: Key): number | undefined {
    let kind = this.#kinds.get(key)
    if (kind === undefined) {
      const { burst = 100, perSecond = 5 } = this.#rate
      kind = { bucket: new TokenBucket(this.#clock, perSecond, burst), left: 0 }
      this.#kinds.set(key, kind)
    }
    if (!kind.bucket.take()) {
      kind.left++
      return undefined
    }
    const { left } = kind
    kind.left = 0
    return left
  }

  /** The kinds of which lines were left out that no later line has told of. */
  *untold(): Generator<[Key, number]> {
    for (const [key, { left }] of this.#kinds) if (left > 0) yield [key, left]
  }
}
