import { isDeepStrictEqual } from 'node:util'
import { Sweep } from '../../protocol/sweep.ts'
import { stateFull } from './errors.ts'
import { nameOf, startOf } from './names.ts'
import type { Json, RecordOptions, Records } from './state.ts'

export const DEFAULT_MAX_RECORDS = 100_000
/** Records that are looked at on each write: more than one, so that they go faster than they come. */
const SWEPT_PER_WRITE = 2

interface Entry {
  value: Json
  /** Epoch ms. */
  untilMs: number
}

/** Records in memory, each with an end. There are never more than a fixed number of them, and no timer. */
export class MemoryRecords implements Records {
  readonly #nowMs: () => number
  readonly #maxRecords: number
  readonly #entries = new Map<string, Entry>()
  readonly #sweep = new Sweep(this.#entries, SWEPT_PER_WRITE)
  /** No entry is over before, as of the last look at all of them. */
  #soonestMs = Number.NEGATIVE_INFINITY

  constructor(nowMs: () => number, maxRecords = DEFAULT_MAX_RECORDS) {
    this.#nowMs = nowMs
    this.#maxRecords = maxRecords
  }

  get size(): number {
    return this.#entries.size
  }

  async get(namespace: string, key: string): Promise<Json | undefined> {
    return this.#read(nameOf(namespace, key))
  }

  async put(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<void> {
    this.#write(nameOf(namespace, key), value, options)
  }

  async create(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<boolean> {
    const name = nameOf(namespace, key)
    if (this.#read(name) !== undefined) return false
    this.#write(name, value, options)
    return true
  }

  async replace(
    namespace: string,
    key: string,
    before: Json,
    value: Json,
    options?: RecordOptions,
  ): Promise<boolean> {
    const name = nameOf(namespace, key)
    if (!isDeepStrictEqual(this.#read(name), before)) return false
    this.#write(name, value, options)
    return true
  }

  async take(namespace: string, key: string): Promise<Json | undefined> {
    const name = nameOf(namespace, key)
    const value = this.#read(name)
    this.#entries.delete(name)
    return value
  }

  async delete(namespace: string, key: string): Promise<void> {
    this.#entries.delete(nameOf(namespace, key))
  }

  async list(
    namespace: string,
    prefix = '',
    limit = 1_000,
    after?: string,
  ): Promise<[key: string, value: Json][]> {
    const start = startOf(namespace)
    const found: [string, Json][] = []
    for (const name of this.#entries.keys()) {
      if (!name.startsWith(start + prefix)) continue
      const value = this.#read(name)
      const key = name.slice(start.length)
      if (value !== undefined && (after === undefined || inOrder(after, key) < 0)) found.push([key, value])
    }
    return found.sort(([one], [other]) => inOrder(one, other)).slice(0, limit)
  }

  #read(name: string): Json | undefined {
    const entry = this.#entries.get(name)
    return entry !== undefined && entry.untilMs > this.#nowMs() ? structuredClone(entry.value) : undefined
  }

  /** @throws {TunnelError} STATE_UNAVAILABLE when there is no room */
  #write(name: string, value: Json, { ttlMs }: RecordOptions = {}): void {
    if (ttlMs === undefined) throw new RangeError('a record that is volatile needs a ttlMs')
    const nowMs = this.#nowMs()
    this.#entries.delete(name)
    this.#drop(nowMs, this.#sweep.some())
    if (this.#entries.size >= this.#maxRecords && nowMs >= this.#soonestMs) this.#dropAll(nowMs)
    if (this.#entries.size >= this.#maxRecords) throw stateFull()
    this.#entries.set(name, { value: structuredClone(value), untilMs: nowMs + ttlMs })
    this.#soonestMs = Math.min(this.#soonestMs, nowMs + ttlMs)
  }

  /** Of a store that is full not each further write looks at everything. */
  #dropAll(nowMs: number): void {
    this.#drop(nowMs, this.#entries)
    this.#soonestMs = Number.POSITIVE_INFINITY
    for (const { untilMs } of this.#entries.values()) this.#soonestMs = Math.min(this.#soonestMs, untilMs)
  }

  #drop(nowMs: number, entries: Iterable<[string, Entry]>): void {
    for (const [name, { untilMs }] of entries) if (untilMs <= nowMs) this.#entries.delete(name)
  }
}

/** As LevelDB and Redis have it: by bytes. */
function inOrder(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}
