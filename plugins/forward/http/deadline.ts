import type { Clock } from '../../../protocol/clock.ts'

/**
 * Who has to move next: the caller, with more of the body; the service, which takes that and answers; or its answer, which
 * has begun.
 */
export type Party = 'caller' | 'service' | 'answer'

/**
 * How long an exchange waits for one of them, from when something last moved. It has one timer, which is set again when it
 * finds itself too early: a body moves far more often than it stops.
 */
export class Deadline {
  readonly #clock: Clock
  readonly #limits: Readonly<Record<Party, number>>
  readonly #late: (party: Party) => void
  #party: Party = 'service'
  #dueMs = 0
  #timer: unknown
  /** When the timer ends; undefined where there is none. */
  #timerMs: number | undefined

  /** @param limits in ms */
  constructor(clock: Clock, limits: Readonly<Record<Party, number>>, late: (party: Party) => void) {
    this.#clock = clock
    this.#limits = limits
    this.#late = late
  }

  /** From now on it is `party` that has to move. */
  await(party: Party): void {
    this.#party = party
    this.#dueMs = this.#clock.now() + this.#limits[party]
    if (this.#timerMs === undefined || this.#dueMs < this.#timerMs) this.#set()
  }

  /** Nobody has to. */
  stop(): void {
    if (this.#timerMs === undefined) return
    this.#clock.clearTimer(this.#timer)
    this.#timerMs = undefined
  }

  #set(): void {
    this.stop()
    this.#timerMs = this.#dueMs
    this.#timer = this.#clock.setTimer(() => this.#ended(), this.#dueMs - this.#clock.now())
  }

  #ended(): void {
    this.#timerMs = undefined
    if (this.#clock.now() < this.#dueMs) this.#set()
    else this.#late(this.#party)
  }
}
