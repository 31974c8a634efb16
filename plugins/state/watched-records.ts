import type { Json, RecordOptions, Records, Watcher } from './state.ts'
import type { Watchers } from './watchers.ts'

/** Records of a store, whose writes are told to those who watch. What else a state has stands in its own class. */
export class WatchedRecords implements Records {
  readonly #records: Records
  readonly #watchers: Watchers

  constructor(records: Records, watchers: Watchers) {
    this.#records = records
    this.#watchers = watchers
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
}
