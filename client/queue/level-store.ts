import { chmod, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { makeFolder } from '../../protocol/node/folders.ts'
import { lockedBy, storeFailed } from './errors.ts'
import { Spool } from './spool.ts'
import type { QueueStore, StoreChange, Take } from './store.ts'

/** The last code point sorts after every other. */
const LAST = '\u{10FFFF}'
/**
 * LevelDB takes changes one by one at a third of what an array of them costs, but it then keeps its copy of them until
 * garbage is collected.
 */
const MOST_BYTES_ONE_BY_ONE = 65_536

/** LevelDB in `<dir>/db`: one log that is synced for many requests at once, and a lock against a second program. */
export class LevelStore implements QueueStore {
  readonly damage: readonly string[]
  readonly #dir: string
  readonly #level: ClassicLevel<string, Uint8Array>
  readonly #spool: Spool
  /** A write has failed, so that it is not known what the log holds. */
  #isDoubtful = false

  private constructor(dir: string, level: ClassicLevel<string, Uint8Array>, damage: readonly string[]) {
    this.#dir = dir
    this.#level = level
    this.damage = damage
    this.#spool = new Spool(dir)
  }

  /** @throws {TunnelError} QUEUE_LOCKED where another program has the folder, STORE_FAILED where it cannot be used */
  static async open(dir: string): Promise<LevelStore> {
    const path = join(dir, 'db')
    try {
      makeFolder(path)
      await chmod(path, 0o700)
      const level = new ClassicLevel<string, Uint8Array>(path, { valueEncoding: 'view' })
      await level.open()
      return new LevelStore(dir, level, await damageIn(path))
    } catch (error) {
      throw isLocked(error)
        ? lockedBy(dir, error)
        : storeFailed(`the queue in ${dir} cannot be opened`, error)
    }
  }

  async entries(prefix: string): Promise<[string, Uint8Array][]> {
    return this.#level.iterator({ gte: prefix, lt: prefix + LAST }).all()
  }

  async write(changes: readonly StoreChange[], isDurable: boolean): Promise<void> {
    try {
      // LevelDB would go on behind what it could not write (a full disk) and could not read it at the next start.
      if (this.#isDoubtful) {
        await this.#level.close()
        await this.#level.open()
        this.#isDoubtful = false
      }
      await (isSmall(changes)
        ? this.#writeOneByOne(changes, isDurable)
        : this.#writeArray(changes, isDurable))
    } catch (error) {
      this.#isDoubtful = true
      throw storeFailed(`the queue in ${this.#dir} cannot be written to`, error)
    }
  }

  /** One batch all the same. */
  #writeOneByOne(changes: readonly StoreChange[], sync: boolean): Promise<void> {
    const batch = this.#level.batch()
    for (const { key, value } of changes) {
      if (value === undefined) batch.del(key)
      else batch.put(key, value)
    }
    return batch.write({ sync })
  }

  #writeArray(changes: readonly StoreChange[], sync: boolean): Promise<void> {
    const operations = changes.map(({ key, value }) =>
      value === undefined ? { type: 'del' as const, key } : { type: 'put' as const, key, value },
    )
    return this.#level.batch(operations, { sync })
  }

  receive(take: Take, failed: (error: TunnelError) => void): void {
    this.#spool.receive(take, failed)
  }

  async close(): Promise<void> {
    await this.#spool.close()
    await this.#level.close()
  }
}

function isSmall(changes: readonly StoreChange[]): boolean {
  let bytes = 0
  for (const { value } of changes) bytes += value?.length ?? 0
  return bytes <= MOST_BYTES_ONE_BY_ONE
}

/** LevelDB leaves damaged pieces out when it opens, and says so in its own log alone. */
async function damageIn(path: string): Promise<string[]> {
  const log = await readFile(join(path, 'LOG'), 'utf8').catch(() => '')
  return [...log.matchAll(/^.*?: dropping (\d+) bytes; (.*)$/gm)].map(
    ([, bytes, reason]) => `${bytes} bytes of the log in ${path} could not be read (${reason})`,
  )
}

function isLocked(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause)
    if ('code' in at && at.code === 'LEVEL_LOCKED') return true
  return false
}
