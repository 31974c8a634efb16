import type { Clock } from '../../protocol/clock.ts'

/** Those who wait for the answer to a PING that is sent after they ask; all who ask at once wait for the same one. */
export class Answers {
  readonly #clock: Clock
  readonly #waiting = new Set<{ sinceMs: number; resolve(): void }>()
  #next: Promise<void> | undefined
  #isClosed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  next(ping: () => void): Promise<void> {
    if (this.#isClosed) return Promise.resolve()
    this.#next ??= new Promise((resolve) => {
      queueMicrotask(() => {
        this.#next = undefined
        if (this.#isClosed) return resolve()
        this.#waiting.add({ sinceMs: this.#clock.now(), resolve })
        ping()
      })
    })
    return this.#next
  }

  /** @param sentAtMs when the PING was sent that has been answered, by the clock */
  came(sentAtMs: number): void {
    for (const waiter of this.#waiting) {
      if (waiter.sinceMs > sentAtMs) continue
      this.#waiting.delete(waiter)
      waiter.resolve()
    }
  }

  /** None comes any more. */
  close(): void {
    this.#isClosed = true
    for (const { resolve } of this.#waiting) resolve()
    this.#waiting.clear()
  }
}
