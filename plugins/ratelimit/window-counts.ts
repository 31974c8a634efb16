interface Window {
  current: number
  startedMs: number
}

type Answer = (error: Error | null, counted: { current: number; ttl: number }) => void

/**
 * Counts by key in windows of time, for @fastify/rate-limit. Its own store asks the wall clock: set back by an hour, that
 * keeps whoever is limited out for an hour.
 */
export class WindowCounts {
  readonly #windows = new Map<string, Window>()
  readonly #maxKeys: number

  /** @param maxKeys counted at once; the longest unseen is forgotten */
  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys
  }

  incr(key: string, answer: Answer, windowMs: number): void {
    const nowMs = performance.now()
    let window = this.#windows.get(key)
    this.#windows.delete(key)
    if (window === undefined || window.startedMs + windowMs <= nowMs)
      window = { current: 0, startedMs: nowMs }
    window.current++
    this.#windows.set(key, window)
    if (this.#windows.size > this.#maxKeys) this.#windows.delete(this.#windows.keys().next().value as string)
    answer(null, { current: window.current, ttl: Math.ceil(window.startedMs + windowMs - nowMs) })
  }

  child(): WindowCounts {
    return new WindowCounts(this.#maxKeys)
  }
}
