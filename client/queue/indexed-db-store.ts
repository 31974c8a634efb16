import { type IDBPDatabase, openDB } from 'idb'
import { storeFailed } from './errors.ts'
import type { QueueStore, StoreChange } from './store.ts'

/** The browser's; the types of Node do not know it. */
declare const IDBKeyRange: { bound(lower: string, upper: string): never }

const ENTRIES = 'entries'

/** IndexedDB in a browser: one database, one object store, whose keys sort as LevelDB's do. */
export class IndexedDbStore implements QueueStore {
  readonly #database: IDBPDatabase
  readonly #name: string

  private constructor(database: IDBPDatabase, name: string) {
    this.#database = database
    this.#name = name
  }

  /** @throws {TunnelError} STORE_FAILED, as in a private window of some browsers */
  static async open(name: string): Promise<IndexedDbStore> {
    try {
      const database = await openDB(name, 1, {
        upgrade: (created) => void created.createObjectStore(ENTRIES),
      })
      return new IndexedDbStore(database, name)
    } catch (error) {
      throw storeFailed(`the database ${name} cannot be opened`, error)
    }
  }

  async entries(prefix: string): Promise<[string, Uint8Array][]> {
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`)
    const { store } = this.#database.transaction(ENTRIES)
    const [keys, values] = await Promise.all([store.getAllKeys(range), store.getAll(range)])
    return keys.map((key, index) => [String(key), values[index] as Uint8Array])
  }

  async write(changes: readonly StoreChange[], isDurable: boolean): Promise<void> {
    try {
      const durability = isDurable ? 'strict' : 'relaxed'
      const transaction = this.#database.transaction(ENTRIES, 'readwrite', { durability })
      const { store } = transaction
      const writes = changes.map(({ key, value }) =>
        value === undefined ? store.delete(key) : store.put(value, key),
      )
      await Promise.all([...writes, transaction.done])
    } catch (error) {
      throw storeFailed(`the database ${this.#name} cannot be written to`, error)
    }
  }

  async close(): Promise<void> {
    this.#database.close()
  }
}
