import type { Clock } from './clock.ts'
import { Fifo } from './fifo.ts'

interface Entry<T> {
  readonly key: string
  readonly value: T
  readonly atMs: number
}

/**
 * What was added of late, by its key: for `keepMs`, and `max` at most; the oldest go first. They stand in a queue
 * beside the map, because finding the oldest key of a map takes longer the more have left it.
 */
export class Recent<T> {
  readonly #clock: Clock
  readonly #keepMs: number
  readonly #max: number
  readonly #entries = new Map<string, Entry<T>>()
  readonly #queue = new Fifo<Entry<T>>()

  constructor(clock: Clock, keepMs: number, max: number) {
    this.#clock = clock
    this.#keepMs = keepMs
    this.#max = max
  }

  get size(): number {
    return this.#entries.size
  }

  /** Adds it, in the place of what had the key. Returns when the last one was added that went before its time. */
  add(key: string, value: T): number | undefined {
    const nowMs = this.#clock.now()
    const entry = { key, value, atMs: nowMs }
    this.#entries.set(key, entry)
    this.#queue.push(entry)
    let goneEarly: number | undefined
    for (let oldest = this.#queue.at(0); oldest !== undefined; oldest = this.#queue.at(0)) {
      const isYoung = nowMs - oldest.atMs <= this.#keepMs
      if (isYoung && this.#queue.length <= this.#max) break
      this.#queue.shift()
      if (this.#entries.get(oldest.key) === oldest) this.#entries.delete(oldest.key)
      if (isYoung) goneEarly = oldest.atMs
    }
    return goneEarly
  }

  get(key: string): T | undefined {
    const entry = this.#entries.get(key)
    return entry !== undefined && this.#isYoung(entry) ? entry.value : undefined
  }

  *values(): Generator<T> {
    for (const entry of this.#entries.values()) if (this.#isYoung(entry)) yield entry.value
  }

  #isYoung({ atMs }: Entry<T>): boolean {
    return this.#clock.now() - atMs <= this.#keepMs
  }

  clear(): void {
    this.#entries.clear()
    this.#queue.clear()
  }
}
