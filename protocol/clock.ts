/** Time as the protocol sees it, so that a test can hold it. */
export interface Clock {
  /** Milliseconds from an arbitrary start; never runs backwards. */
  now(): number
  /** Calls `callback` once after `ms`; the handle keeps no process alive. */
  setTimer(callback: () => void, ms: number): unknown
  clearTimer(timer: unknown): void
}

const machineClock: Clock = {
  now: () => performance.now(),
  setTimer(callback, ms) {
    // Of a time that has just passed Node 24 warns.
    const timer: unknown = setTimeout(callback, Math.max(0, ms))
    if (typeof timer === 'object' && timer !== null && 'unref' in timer) (timer as { unref(): void }).unref()
    return timer
  },
  clearTimer(timer) {
    clearTimeout(timer as ReturnType<typeof setTimeout>)
  },
}

let holder: Clock = machineClock

/** The machine's own monotonic clock, or what takes its place in this process. */
export const systemClock: Clock = {
  now: () => holder.now(),
  setTimer: (callback, ms) => holder.setTimer(callback, ms),
  clearTimer: (timer) => holder.clearTimer(timer),
}

/**
 * For tests of plugins: every part of ours that is started in this process from now on goes by `clock`. What is returned
 * puts the machine's clock back.
 */
export function replaceSystemClock(clock: Clock): () => void {
  if (holder !== machineClock) throw new Error('the clock of this process has been replaced already')
  holder = clock
  return () => {
    holder = machineClock
  }
}
