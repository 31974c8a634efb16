import type { Clock } from '../../protocol/clock.ts'
import type { VirtualClock } from '../support/virtual-clock.ts'

/** The clock of one process: of one that was killed no timer fires any more. */
export class ProcessClock implements Clock {
  readonly #clock: VirtualClock
  readonly #timers = new Set<unknown>()
  #killed = false

  constructor(clock: VirtualClock) {
    this.#clock = clock
  }

  /** Timers of this process that are set. */
  get pending(): number {
    return this.#timers.size
  }

  now(): number {
    return this.#clock.now()
  }

  setTimer(callback: () => void, ms: number): unknown {
    if (this.#killed) return undefined
    const timer: unknown = this.#clock.setTimer(() => {
      this.#timers.delete(timer)
      callback()
    }, ms)
    this.#timers.add(timer)
    return timer
  }

  clearTimer(timer: unknown): void {
    if (!this.#timers.delete(timer)) return
    this.#clock.clearTimer(timer)
  }

  kill(): void {
    this.#killed = true
    for (const timer of this.#timers) this.#clock.clearTimer(timer)
    this.#timers.clear()
  }
}
