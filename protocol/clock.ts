/** Time as the protocol sees it, so that a test can hold it. */
export interface Clock {
  /** Milliseconds from an arbitrary start; never runs backwards. */
  now(): number
  /** Calls `callback` once after `ms`; the handle keeps no process alive. */
  setTimer(callback: () => void, ms: number): unknown
  clearTimer(timer: unknown): void
}

/** The machine's own monotonic clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(callback, ms) {
    const timer: unknown = setTimeout(callback, ms)
    if (typeof timer === 'object' && timer !== null && 'unref' in timer) (timer as { unref(): void }).unref()
    return timer
  },
  clearTimer(timer) {
    clearTimeout(timer as ReturnType<typeof setTimeout>)
  },
}
