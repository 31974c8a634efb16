import { storeFailed } from './errors.ts'
import type { QueueStore, StoreChange } from './store.ts'

// What is used of IndexedDB: the types of Node do not know it.

interface Asked<Result> {
  readonly result: Result
  readonly error: unknown
}
interface ObjectStore {
  getAllKeys(range: unknown): Asked<unknown[]>
  getAll(range: unknown): Asked<unknown[]>
  put(value: Uint8Array, key: string): unknown
  delete(key: string): unknown
}
interface Transaction {
  readonly error: unknown
  oncomplete: (() => void) | null
  onabort: (() => void) | null
  objectStore(name: string): ObjectStore
}
interface Database {
  transaction(name: string, mode?: 'readwrite', options?: { durability: 'strict' | 'relaxed' }): Transaction
  createObjectStore(name: string): unknown
  close(): void
}
interface Opening extends Asked<Database> {
  onupgradeneeded: (() => void) | null
  onsuccess: (() => void) | null
  onerror: (() => void) | null
}

declare const indexedDB: { open(name: string, version: number): Opening }
declare const IDBKeyRange: { bound(lower: string, upper: string): unknown }

const ENTRIES = 'entries'

/** IndexedDB in a browser: one database, one object store, whose keys sort as LevelDB's do. */
export class IndexedDbStore implements QueueStore {
  readonly #database: Database
  readonly #name: string

  private constructor(database: Database, name: string) {
    this.#database = database
    this.#name = name
  }

  /** @throws {TunnelError} STORE_FAILED, as in a private window of some browsers */
  static async open(name: string): Promise<IndexedDbStore> {
    try {
      return new IndexedDbStore(await opened(name), name)
    } catch (error) {
      throw storeFailed(`the database ${name} cannot be opened`, error)
    }
  }

  async entries(prefix: string): Promise<[string, Uint8Array][]> {
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`)
    const transaction = this.#database.transaction(ENTRIES)
    const store = transaction.objectStore(ENTRIES)
    const keys = store.getAllKeys(range)
    const values = store.getAll(range)
    await over(transaction)
    return keys.result.map((key, index) => [String(key), values.result[index] as Uint8Array])
  }

  async write(changes: readonly StoreChange[], isDurable: boolean): Promise<void> {
    try {
      const durability = isDurable ? 'strict' : 'relaxed'
      const transaction = this.#database.transaction(ENTRIES, 'readwrite', { durability })
      const store = transaction.objectStore(ENTRIES)
      for (const { key, value } of changes) {
        if (value === undefined) store.delete(key)
        else store.put(value, key)
      }
      await over(transaction)
    } catch (error) {
      throw storeFailed(`the database ${this.#name} cannot be written to`, error)
    }
  }

  async close(): Promise<void> {
    this.#database.close()
  }
}

function opened(name: string): Promise<Database> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(name, 1)
    opening.onupgradeneeded = () => void opening.result.createObjectStore(ENTRIES)
    opening.onsuccess = () => resolve(opening.result)
    opening.onerror = () => reject(opening.error)
  })
}

/** Resolves when all of it is done. A request that fails takes the whole transaction back, and so may its end. */
function over(transaction: Transaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve()
    transaction.onabort = () => reject(transaction.error)
  })
}
