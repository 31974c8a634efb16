import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { makeFolder } from '../../protocol/node/folders.ts'
import { Buckets } from './buckets.ts'
import { Census } from './census.ts'
import { folderInUse, folderUnusable } from './errors.ts'
import { LevelRecords, unwrapped } from './level-records.ts'
import { MemoryRecords } from './memory-records.ts'
import type { BucketLimit, Json, State, StateLoss, TokenAnswer } from './state.ts'
import { WatchedRecords } from './watched-records.ts'
import { Watchers } from './watchers.ts'

/** The record of the buckets that were not full when the folder was let go of. */
const BUCKETS = ['bucket', 'missing'] as const

interface KeptBuckets {
  atMs: number
  missing: [bucket: string, ms: number][]
}

/** Memory for what may be lost with the process, LevelDB in `<dir>/db` for the rest: what one replica needs, and nothing to set up. */
export class EmbeddedState extends WatchedRecords implements State {
  readonly volatile: MemoryRecords
  readonly #records: LevelRecords
  readonly #census: Census
  readonly #buckets: Buckets
  readonly #nowMs: () => number

  private constructor(records: LevelRecords, census: Census, buckets: Buckets, nowMs: () => number) {
    super(records, new Watchers())
    this.#records = records
    this.#census = census
    this.#buckets = buckets
    this.#nowMs = nowMs
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
      const path = join(dir, 'db')
      makeFolder(path)
      await chmod(path, 0o700)
      const level = new ClassicLevel<string, Json>(path, { valueEncoding: 'json' })
      await level.open()
      const { count, ends } = await readAll(level)
      const census = new Census(dir, count)
      const records = new LevelRecords(level, census, nowMs, ends)
      return new EmbeddedState(records, census, await keptBuckets(records, clock, nowMs), nowMs)
    } catch (error) {
      throw isLocked(error) ? folderInUse(dir, error) : folderUnusable(dir, error)
    }
  }

  get loss(): StateLoss | undefined {
    const { lost: records, file } = this.#census
    return records === 0 ? undefined : { records, file }
  }

  async takeToken(bucket: string, limit: BucketLimit, cost = 1): Promise<TokenAnswer> {
    return this.#buckets.take(bucket, limit, cost)
  }

  async nowMs(): Promise<number> {
    return this.#nowMs()
  }

  /**
   * Writes how far the buckets are from full, for whoever opens the folder next: a restart would else be a way to fill
   * them. It costs too much to do so at each token, so that a process that is killed does fill them.
   */
  async keepBuckets(): Promise<void> {
    const missing = this.#buckets.missing()
    if (missing.length === 0) return
    const ttlMs = missing.reduce((longest, [, ms]) => Math.max(longest, ms), 0)
    await this.put(...BUCKETS, { atMs: this.#nowMs(), missing }, { ttlMs })
  }

  close(): Promise<void> {
    return this.#records.close()
  }
}

async function keptBuckets(records: LevelRecords, clock: Clock, nowMs: () => number): Promise<Buckets> {
  const buckets = new Buckets(clock)
  const kept = (await records.get(...BUCKETS)) as unknown as KeptBuckets | undefined
  // A clock that was set back makes nobody wait longer.
  if (kept !== undefined) buckets.restore(kept.missing, Math.max(0, nowMs() - kept.atMs))
  return buckets
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
