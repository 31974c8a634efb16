import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { Buckets } from './buckets.ts'
import { Census } from './census.ts'
import { folderInUse, folderUnusable, handedOver } from './errors.ts'
import type { BucketLimit, Json, State, StateLoss, TokenAnswer } from './state.ts'

const NAMESPACE = /^[a-z][a-z0-9-]*$/

/** Memory for the buckets, LevelDB in `<dir>/db` for the records: what one replica needs, and nothing to set up. */
export class EmbeddedState implements State {
  readonly #store: ClassicLevel<string, Json>
  readonly #census: Census
  readonly #buckets: Buckets
  /** The last write begun: one goes after the other, also so that check and write of `create` are one. */
  #lastWrite: Promise<unknown> = Promise.resolve()
  /** A write has failed, so that it is not known what the log holds. */
  #isDoubtful = false
  #closed: Promise<void> | undefined

  private constructor(level: ClassicLevel<string, Json>, census: Census, clock: Clock) {
    this.#store = level
    this.#census = census
    this.#buckets = new Buckets(clock)
  }

  /** Throws CONFIG_INVALID, with the folder's name, where another process has it or it cannot be used. */
  static async open(dir: string, clock: Clock = systemClock): Promise<EmbeddedState> {
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 })
      const path = join(dir, 'db')
      await mkdir(path, { recursive: true, mode: 0o700 })
      await chmod(path, 0o700)
      const level = new ClassicLevel<string, Json>(path, { valueEncoding: 'json' })
      await level.open()
      return new EmbeddedState(level, new Census(dir, await countOf(level)), clock)
    } catch (error) {
      throw isLocked(error) ? folderInUse(dir, error) : folderUnusable(dir, error)
    }
  }

  get loss(): StateLoss | undefined {
    const { lost: records, file } = this.#census
    return records === 0 ? undefined : { records, file }
  }

  /** Throws SHUTTING_DOWN when the folder has been let go of. */
  get #level(): ClassicLevel<string, Json> {
    if (this.#closed !== undefined) throw handedOver()
    return this.#store
  }

  async get(namespace: string, key: string): Promise<Json | undefined> {
    return this.#level.get(recordKey(namespace, key))
  }

  async put(namespace: string, key: string, value: Json): Promise<void> {
    const record = recordKey(namespace, key)
    await this.#write(async () => this.#put(record, value, (await this.#store.get(record)) === undefined))
  }

  async create(namespace: string, key: string, value: Json): Promise<boolean> {
    const record = recordKey(namespace, key)
    return this.#write(async () => {
      if ((await this.#store.get(record)) !== undefined) return false
      await this.#put(record, value, true)
      return true
    })
  }

  async delete(namespace: string, key: string): Promise<void> {
    const record = recordKey(namespace, key)
    await this.#write(async () => {
      if ((await this.#store.get(record)) === undefined) return
      await this.#store.del(record, { sync: true })
      await this.#census.removed()
    })
  }

  async #put(record: string, value: Json, isNew: boolean): Promise<void> {
    // Records are few and precious (a pinned host key): each is on disk before its write is acknowledged.
    await this.#store.put(record, value, { sync: true })
    await (isNew ? this.#census.added() : this.#census.save())
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

  async list(
    namespace: string,
    prefix = '',
    limit = 1_000,
    after?: string,
  ): Promise<[key: string, value: Json][]> {
    const start = `${checkedNamespace(namespace)}!`
    // The last code point sorts after every other, in LevelDB's order of bytes too.
    const from = after === undefined ? { gte: start + prefix } : { gt: start + after }
    const range = { ...from, lt: `${start}${prefix}\u{10FFFF}`, limit }
    const records = await this.#level.iterator(range).all()
    return records.map(([record, value]) => [record.slice(start.length), value])
  }

  async takeToken(bucket: string, limit: BucketLimit, cost = 1): Promise<TokenAnswer> {
    return this.#buckets.take(bucket, limit, cost)
  }

  close(): Promise<void> {
    this.#closed ??= this.#lastWrite.then(() => this.#store.close())
    return this.#closed
  }
}

async function countOf(level: ClassicLevel<string, Json>): Promise<number> {
  let count = 0
  for await (const _key of level.keys()) count++
  return count
}

function checkedNamespace(namespace: string): string {
  if (!NAMESPACE.test(namespace)) throw new RangeError(`"${namespace}" is not a namespace (${NAMESPACE})`)
  return namespace
}

function recordKey(namespace: string, key: string): string {
  if (key === '') throw new RangeError('a record needs a key')
  return `${checkedNamespace(namespace)}!${key}`
}

function isLocked(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if ('code' in at && at.code === 'LEVEL_LOCKED') return true
  }
  return false
}
