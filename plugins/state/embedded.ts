import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { Buckets } from './buckets.ts'
import { Census } from './census.ts'
import { folderInUse, folderUnusable } from './errors.ts'
import { LevelRecords, unwrapped } from './level-records.ts'
import { MemoryRecords } from './memory-records.ts'
import type { BucketLimit, Json, RecordOptions, State, StateLoss, TokenAnswer, Watcher } from './state.ts'
import { Watchers } from './watchers.ts'

/** Memory for what may be lost with the process, LevelDB in `<dir>/db` for the rest: what one replica needs, and nothing to set up. */
export class EmbeddedState implements State {
  readonly volatile: MemoryRecords
  readonly #records: LevelRecords
  readonly #census: Census
  readonly #buckets: Buckets
  readonly #watchers = new Watchers()

  private constructor(records: LevelRecords, census: Census, clock: Clock, nowMs: () => number) {
    this.#records = records
    this.#census = census
    this.#buckets = new Buckets(clock)
    this.volatile = new MemoryRecords(nowMs)
  }

  /**
   * Throws CONFIG_INVALID, with the folder's name, where another process has it or it cannot be used.
   * @param nowMs wall time, by which records end, because a restart is no reason to keep them longer
   */
  static async open(
    dir: string,
    clock: Clock = systemClock,
    nowMs: () => number = Date.now,
  ): Promise<EmbeddedState> {
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 })
      const path = join(dir, 'db')
      await mkdir(path, { recursive: true, mode: 0o700 })
      await chmod(path, 0o700)
      const level = new ClassicLevel<string, Json>(path, { valueEncoding: 'json' })
      await level.open()
      const { count, ends } = await readAll(level)
      const census = new Census(dir, count)
      return new EmbeddedState(new LevelRecords(level, census, nowMs, ends), census, clock, nowMs)
    } catch (error) {
      throw isLocked(error) ? folderInUse(dir, error) : folderUnusable(dir, error)
    }
  }

  get loss(): StateLoss | undefined {
    const { lost: records, file } = this.#census
    return records === 0 ? undefined : { records, file }
  }

  get(namespace: string, key: string): Promise<Json | undefined> {
    return this.#records.get(namespace, key)
  }

  async put(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<void> {
    await this.#records.put(namespace, key, value, options)
    this.#watchers.written(namespace, key, value)
  }

  async create(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<boolean> {
    const isNew = await this.#records.create(namespace, key, value, options)
    if (isNew) this.#watchers.written(namespace, key, value)
    return isNew
  }

  async replace(
    namespace: string,
    key: string,
    before: Json,
    value: Json,
    options?: RecordOptions,
  ): Promise<boolean> {
    const isReplaced = await this.#records.replace(namespace, key, before, value, options)
    if (isReplaced) this.#watchers.written(namespace, key, value)
    return isReplaced
  }

  take(namespace: string, key: string): Promise<Json | undefined> {
    return this.#records.take(namespace, key)
  }

  delete(namespace: string, key: string): Promise<void> {
    return this.#records.delete(namespace, key)
  }

  list(namespace: string, prefix?: string, limit?: number, after?: string): Promise<[string, Json][]> {
    return this.#records.list(namespace, prefix, limit, after)
  }

  watch(namespace: string, watcher: Watcher): () => void {
    return this.#watchers.add(namespace, watcher)
  }

  async takeToken(bucket: string, limit: BucketLimit, cost = 1): Promise<TokenAnswer> {
    return this.#buckets.take(bucket, limit, cost)
  }

  close(): Promise<void> {
    return this.#records.close()
  }
}

/** How many records there are, and when those end that do. */
async function readAll(level: ClassicLevel<string, Json>) {
  const ends = new Map<string, number>()
  let count = 0
  for await (const [name, stored] of level.iterator()) {
    count++
    const { untilMs } = unwrapped(stored)
    if (Number.isFinite(untilMs)) ends.set(name, untilMs)
  }
  return { count, ends }
}

function isLocked(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if ('code' in at && at.code === 'LEVEL_LOCKED') return true
  }
  return false
}
