import { type Clock, replaceSystemClock } from '../protocol/clock.ts'

interface Timer {
  readonly callback: () => void
  readonly dueMs: number
  handle: ReturnType<typeof setTimeout> | undefined
}

/**
 * The clock of everything in this process that is ours, proxy, agent and client: it goes as the machine's does, and can
 * be turned forward. `Date.now` goes with it, so that tokens expire; timers of Node and of packages do not.
 */
export class TestClock implements Clock, Disposable {
  #aheadMs = 0
  readonly #timers = new Set<Timer>()
  readonly #putBack: () => void

  constructor() {
    const { now } = Date
    const restore = replaceSystemClock(this)
    Date.now = () => now() + this.#aheadMs
    this.#putBack = () => {
      Date.now = now
      restore()
    }
  }

  now(): number {
    return performance.now() + this.#aheadMs
  }

  setTimer(callback: () => void, ms: number): unknown {
    const timer: Timer = { callback, dueMs: this.now() + ms, handle: undefined }
    this.#timers.add(timer)
    this.#arm(timer)
    return timer
  }

  #arm(timer: Timer): void {
    clearTimeout(timer.handle)
    const run = (): void => {
      this.#timers.delete(timer)
      timer.callback()
    }
    timer.handle = setTimeout(run, Math.max(0, timer.dueMs - this.now())).unref()
  }

  clearTimer(timer: unknown): void {
    if (timer === undefined) return
    clearTimeout((timer as Timer).handle)
    this.#timers.delete(timer as Timer)
  }

  /** Lets `ms` pass at once: what falls due runs in its order, and what comes of it before this resolves. */
  async turn(ms: number): Promise<void> {
    const untilMs = this.now() + ms
    for (;;) {
      const next = [...this.#timers].sort((one, other) => one.dueMs - other.dueMs)[0]
      if (next === undefined || next.dueMs > untilMs) break
      this.#aheadMs += Math.max(0, next.dueMs - this.now())
      this.clearTimer(next)
      next.callback()
      await new Promise(setImmediate)
    }
    this.#aheadMs += Math.max(0, untilMs - this.now())
    // What is set for later is due earlier by the machine's clock.
    for (const timer of this.#timers) this.#arm(timer)
  }

  /** The machine's clock again. */
  [Symbol.dispose](): void {
    this.#putBack()
  }
}
