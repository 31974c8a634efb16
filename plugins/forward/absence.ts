import type { Clock } from '../../protocol/clock.ts'

/** The time in which a stream has no path: how long it lasts, who is waited for, and where its opener went meanwhile. */
export class Absence {
  readonly #clock: Clock
  /** The highest attempt at the stream that was seen here. */
  #attempt: number
  #wasElsewhere = false
  #sinceMs = 0
  #window: unknown

  constructor(clock: Clock, attempt = 0) {
    this.#clock = clock
    this.#attempt = attempt
  }

  begin(): void {
    this.#sinceMs = this.#clock.now()
  }

  get lengthMs(): number {
    return this.#clock.now() - this.#sinceMs
  }

  /** Its opener has asked for the stream where we did not see that, and it has not come back since. */
  get wasElsewhere(): boolean {
    return this.#wasElsewhere
  }

  /** Calls `giveUp` when nobody has asked within `windowMs`; without that, whoever suspended the stream waits. */
  wait(windowMs: number | undefined, giveUp: (windowMs: number) => void): void {
    this.stopWaiting()
    if (windowMs !== undefined) this.#window = this.#clock.setTimer(() => giveUp(windowMs), windowMs)
  }

  stopWaiting(): void {
    this.#clock.clearTimer(this.#window)
  }

  /** Its opener asks for it here, by its `attempt`th try. */
  asked(attempt: number): void {
    this.stopWaiting()
    if (attempt > this.#attempt + 1) this.#wasElsewhere = true
    this.#attempt = Math.max(this.#attempt, attempt)
  }

  /** The stream has its path. */
  end(): void {
    this.stopWaiting()
    this.#wasElsewhere = false
  }
}
