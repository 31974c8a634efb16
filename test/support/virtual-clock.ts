import type { Clock } from '../../protocol/clock.ts'

interface Timer {
  atMs: number
  order: number
  callback: (() => void) | undefined
}

/** Time that stands still until `run` moves it from one timer to the next. */
export class VirtualClock implements Clock {
  #nowMs = 0
  #order = 0
  /** A binary heap by time, then by order of setting. */
  readonly #heap: Timer[] = []
  #live = 0

  now(): number {
    return this.#nowMs
  }

  /** Timers that are set and have neither fired nor been cleared. */
  get pending(): number {
    return this.#live
  }

  setTimer(callback: () => void, ms: number): Timer {
    const timer: Timer = { atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, callback }
    this.#live++
    this.#heap.push(timer)
    this.#up(this.#heap.length - 1)
    return timer
  }

  clearTimer(timer: unknown): void {
    const known = timer as Timer | undefined
    if (known?.callback === undefined) return
    known.callback = undefined
    this.#live--
  }

  /** Fires timers in order, with all microtasks between, until `done` or until `untilMs`. */
  async run(untilMs: number, done: () => boolean = () => false): Promise<void> {
    await settle()
    while (!done()) {
      const next = this.#heap[0]
      if (next === undefined || next.atMs > untilMs) break
      this.#pop()
      const callback = next.callback
      if (callback === undefined) continue
      next.callback = undefined
      this.#live--
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      callback()
      await settle()
    }
    if (!done() && Number.isFinite(untilMs)) this.#nowMs = Math.max(this.#nowMs, untilMs)
  }

  #before(a: Timer, b: Timer): boolean {
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
  }

  #up(index: number): void {
    const heap = this.#heap
    for (let child = index; child > 0; ) {
      const parent = (child - 1) >> 1
      if (!this.#before(heap[child]!, heap[parent]!)) return
      ;[heap[child], heap[parent]] = [heap[parent]!, heap[child]!]
      child = parent
    }
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    heap[0] = last
    for (let parent = 0; ; ) {
      let least = parent
      for (const child of [2 * parent + 1, 2 * parent + 2]) {
        if (child < heap.length && this.#before(heap[child]!, heap[least]!)) least = child
      }
      if (least === parent) return
      ;[heap[parent], heap[least]] = [heap[least]!, heap[parent]!]
      parent = least
    }
  }
}

/** Every microtask that is due has run by then, and those that they made. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
