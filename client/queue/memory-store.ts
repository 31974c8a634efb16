import type { QueueStore, StoreChange } from './store.ts'

/** Keeps requests for as long as the object lives: where there is no disk, and in tests. */
export class MemoryStore implements QueueStore {
  readonly #values = new Map<string, Uint8Array>()

  async entries(prefix: string): Promise<[string, Uint8Array][]> {
    const found = [...this.#values].filter(([key]) => key.startsWith(prefix))
    return found.sort(([one], [other]) => (one < other ? -1 : 1))
  }

  async write(changes: readonly StoreChange[]): Promise<void> {
    for (const { key, value } of changes) {
      if (value === undefined) this.#values.delete(key)
      else this.#values.set(key, value.slice())
    }
  }

  async close(): Promise<void> {}
}
