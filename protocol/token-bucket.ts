import type { Clock } from './clock.ts'

/** A token bucket that is filled by looking at the clock. */
export class TokenBucket {
  readonly #clock: Clock
  readonly #perSecond: number
  readonly #burst: number
  #tokens: number
  #filledAtMs: number

  constructor(clock: Clock, perSecond: number, burst: number) {
    this.#clock = clock
    this.#perSecond = perSecond
    this.#burst = burst
    this.#tokens = burst
    this.#filledAtMs = clock.now()
  }

  /** The next `take` would have none. */
  get isEmpty(): boolean {
    const now = this.#clock.now()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#filledAtMs) / 1_000) * this.#perSecond)
    this.#filledAtMs = now
    return this.#tokens < 1
  }

  take(): boolean {
    if (this.isEmpty) return false
    this.#tokens--
    return true
  }
}
