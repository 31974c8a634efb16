import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { Buckets } from './buckets.ts'
import { folderInUse, folderUnusable, handedOver } from './errors.ts'
import type { BucketLimit, Json, State, TokenAnswer } from './state.ts'

const NAMESPACE = /^[a-z][a-z0-9-]*$/

/** Memory for the buckets, LevelDB in `<dir>/db` for the records: what one replica needs, and nothing to set up. */
export class EmbeddedState implements State {
  readonly #store: ClassicLevel<string, Json>
  readonly #buckets: Buckets
  /** The last write begun for each key that has one under way, so that check and write of `create` are one. */
  readonly #writes = new Map<string, Promise<unknown>>()

  #closed: Promise<void> | undefined

  private constructor(level: ClassicLevel<string, Json>, clock: Clock) {
    this.#store = level
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
      return new EmbeddedState(level, clock)
    } catch (error) {
      throw isLocked(error) ? folderInUse(dir, error) : folderUnusable(dir, error)
    }
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
    // Records are few and precious (a pinned host key): each is on disk before its write is acknowledged.
    await this.#inTurn(record, () => this.#level.put(record, value, { sync: true }))
  }

  async create(namespace: string, key: string, value: Json): Promise<boolean> {
    const record = recordKey(namespace, key)
    return this.#inTurn(record, async () => {
      if ((await this.#level.get(record)) !== undefined) return false
      await this.#level.put(record, value, { sync: true })
      return true
    })
  }

  async delete(namespace: string, key: string): Promise<void> {
    const record = recordKey(namespace, key)
    await this.#inTurn(record, () => this.#level.del(record, { sync: true }))
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
    this.#closed ??= this.#store.close()
    return this.#closed
  }

  async #inTurn<T>(record: string, write: () => Promise<T>): Promise<T> {
    const before = this.#writes.get(record)
    const mine = before === undefined ? write() : before.then(write, write)
    this.#writes.set(record, mine)
    try {
      return await mine
    } finally {
      if (this.#writes.get(record) === mine) this.#writes.delete(record)
    }
  }
}

function checkedNamespace(namespace: string): string {
  if (!NAMESPACE.test(namespace)) throw new RangeError(`"${namespace}" is no namespace (${NAMESPACE})`)
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
