import { isDeepStrictEqual } from 'node:util'
import type { ClassicLevel } from 'classic-level'
import { Sweep } from '../../protocol/sweep.ts'
import type { Census } from './census.ts'
import { handedOver } from './errors.ts'
import { nameOf, startOf } from './names.ts'
import type { Json, RecordOptions, Records } from './state.ts'

/** Records with an end that are looked at on each write: more than one, so that they go faster than they come. */
const SWEPT_PER_WRITE = 4

/** A record with an end as it is stored; one without is stored as it is. */
const UNTIL = '$untilMs'

/** Records on disk: each is there when its write is acknowledged, and outlives the process. */
export class LevelRecords implements Records {
  readonly #store: ClassicLevel<string, Json>
  readonly #census: Census
  readonly #nowMs: () => number
  /** When each record that has an end is gone, in epoch ms. */
  readonly #ends: Map<string, number>
  readonly #sweep: Sweep<string, number>
  /** The last write begun: one goes after the other, also so that check and write are one. */
  #lastWrite: Promise<unknown> = Promise.resolve()
  /** A write has failed, so that it is not known what the log holds. */
  #isDoubtful = false
  #closed: Promise<void> | undefined

  /** @param ends of the records that have one */
  constructor(
    store: ClassicLevel<string, Json>,
    census: Census,
    nowMs: () => number,
    ends: Iterable<[string, number]>,
  ) {
    this.#store = store
    this.#census = census
    this.#nowMs = nowMs
    this.#ends = new Map(ends)
    this.#sweep = new Sweep(this.#ends, SWEPT_PER_WRITE)
  }

  /** Throws SHUTTING_DOWN when the folder has been let go of. */
  get #level(): ClassicLevel<string, Json> {
    if (this.#closed !== undefined) throw handedOver()
    return this.#store
  }

  async get(namespace: string, key: string): Promise<Json | undefined> {
    const name = nameOf(namespace, key)
    return this.#live(await this.#level.get(name))
  }

  async put(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<void> {
    const name = nameOf(namespace, key)
    await this.#write(async () => this.#put(name, value, await this.#store.get(name), options))
  }

  async create(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<boolean> {
    const name = nameOf(namespace, key)
    return this.#write(async () => {
      const stored = await this.#store.get(name)
      if (this.#live(stored) !== undefined) return false
      await this.#put(name, value, stored, options)
      return true
    })
  }

  async replace(
    namespace: string,
    key: string,
    before: Json,
    value: Json,
    options?: RecordOptions,
  ): Promise<boolean> {
    const name = nameOf(namespace, key)
    return this.#write(async () => {
      const stored = await this.#store.get(name)
      if (!isDeepStrictEqual(this.#live(stored), before)) return false
      await this.#put(name, value, stored, options)
      return true
    })
  }

  async take(namespace: string, key: string): Promise<Json | undefined> {
    const name = nameOf(namespace, key)
    return this.#write(async () => {
      const stored = await this.#store.get(name)
      if (stored !== undefined) await this.#remove([name])
      return this.#live(stored)
    })
  }

  async delete(namespace: string, key: string): Promise<void> {
    await this.take(namespace, key)
  }

  async list(
    namespace: string,
    prefix = '',
    limit = 1_000,
    after?: string,
  ): Promise<[key: string, value: Json][]> {
    const start = startOf(namespace)
    // The last code point sorts after every other, in LevelDB's order of bytes too.
    const from = after === undefined ? { gte: start + prefix } : { gt: start + after }
    const found: [string, Json][] = []
    if (limit <= 0) return found
    for await (const [name, stored] of this.#level.iterator({ ...from, lt: `${start}${prefix}\u{10FFFF}` })) {
      const value = this.#live(stored)
      if (value === undefined) continue
      found.push([name.slice(start.length), value])
      if (found.length === limit) break
    }
    return found
  }

  close(): Promise<void> {
    this.#closed ??= this.#lastWrite.then(() => this.#store.close())
    return this.#closed
  }

  /** What is stored, as long as it holds. */
  #live(stored: Json | undefined): Json | undefined {
    const { value, untilMs } = unwrapped(stored)
    return untilMs > this.#nowMs() ? value : undefined
  }

  async #put(
    name: string,
    value: Json,
    stored: Json | undefined,
    { ttlMs }: RecordOptions = {},
  ): Promise<void> {
    const untilMs = ttlMs === undefined ? undefined : this.#nowMs() + ttlMs
    // Records are few and precious (a pinned host key): each is on disk before its write is acknowledged.
    await this.#store.put(name, wrapped(value, untilMs), { sync: true })
    if (untilMs === undefined) this.#ends.delete(name)
    else this.#ends.set(name, untilMs)
    await (stored === undefined ? this.#census.added() : this.#census.save())
    const over = [...this.#sweep.some()].filter(([, endMs]) => endMs <= this.#nowMs())
    await this.#remove(over.map(([each]) => each))
  }

  async #remove(names: string[]): Promise<void> {
    if (names.length === 0) return
    await this.#store.batch(
      names.map((key) => ({ type: 'del', key })),
      { sync: true },
    )
    for (const name of names) this.#ends.delete(name)
    await this.#census.removed(names.length)
  }

  /**
   * One write after the other. LevelDB goes on after one that failed (a full disk) with a log that it cannot read at
   * the next start, and would acknowledge what is lost then: so it is opened again before the next.
   */
  async #write<T>(write: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) throw handedOver()
    const mine = this.#lastWrite.then(async () => {
      if (this.#isDoubtful) {
        await this.#store.close()
        await this.#store.open()
        this.#isDoubtful = false
      }
      try {
        return await write()
      } catch (error) {
        this.#isDoubtful = true
        throw error
      }
    })
    this.#lastWrite = mine.catch(() => {})
    return mine
  }
}

function wrapped(value: Json, untilMs: number | undefined): Json {
  // What looks like one that has an end is wrapped too, so that it is read as it was written.
  if (untilMs === undefined && !isWrapped(value)) return value
  return { [UNTIL]: untilMs ?? null, value }
}

function isWrapped(stored: Json | undefined): stored is { [UNTIL]: number | null; value: Json } {
  return (
    typeof stored === 'object' && stored !== null && !Array.isArray(stored) && Object.hasOwn(stored, UNTIL)
  )
}

/** What was stored, and its end in epoch ms. */
export function unwrapped(stored: Json | undefined): { value: Json | undefined; untilMs: number } {
  if (!isWrapped(stored)) return { value: stored, untilMs: Number.POSITIVE_INFINITY }
  return { value: stored.value, untilMs: stored[UNTIL] ?? Number.POSITIVE_INFINITY }
}
