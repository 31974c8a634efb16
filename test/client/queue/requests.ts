import type { StoredRequest } from '../../../client/queue/record.ts'
import type { QueueStore, StoreChange } from '../../../client/queue/store.ts'

export function storedRequest(more: Partial<StoredRequest> = {}): StoredRequest {
  return {
    id: crypto.randomUUID(),
    machine: 'home',
    target: '127.0.0.1:80',
    method: 'POST',
    path: '/',
    headers: [['content-type', 'text/plain']],
    withheld: [],
    body: undefined,
    priority: 'high',
    idempotent: false,
    timeoutMs: 1_000,
    maxBodyBytes: 1_000,
    acceptedAtMs: 1,
    expiresAtMs: undefined,
    ...more,
  }
}

/** A store whose writes a test holds, counts and lets fail. */
export class HeldStore implements QueueStore {
  readonly batches: { keys: string[]; isDurable: boolean }[] = []
  failWith: Error | undefined
  readonly #store: QueueStore
  #gate: Promise<void> = Promise.resolve()

  constructor(store: QueueStore) {
    this.#store = store
  }

  /** Holds every write until what it returns is called. */
  hold(): () => void {
    let open!: () => void
    this.#gate = new Promise((resolve) => {
      open = resolve
    })
    return open
  }

  entries(prefix: string): Promise<[string, Uint8Array][]> {
    return this.#store.entries(prefix)
  }

  async write(changes: readonly StoreChange[], isDurable: boolean): Promise<void> {
    await this.#gate
    if (this.failWith !== undefined) {
      // As a log does whose bytes are there and whose sync failed.
      await this.#store.write(changes, isDurable)
      throw this.failWith
    }
    this.batches.push({ keys: changes.map(({ key }) => key), isDurable })
    await this.#store.write(changes, isDurable)
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}
