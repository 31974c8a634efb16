import type { Json, Watcher } from './state.ts'

/** Who wants to know what is written in which namespace. */
export class Watchers {
  readonly #watchers = new Map<string, Set<Watcher>>()

  /** Returns what ends the watch. */
  add(namespace: string, watcher: Watcher): () => void {
    const those = this.#watchers.get(namespace) ?? new Set()
    this.#watchers.set(namespace, those)
    those.add(watcher)
    return () => {
      those.delete(watcher)
      if (those.size === 0 && this.#watchers.get(namespace) === those) this.#watchers.delete(namespace)
    }
  }

  /** Something may have been written, in whichever namespace, that was not told. */
  missed(): void {
    for (const those of this.#watchers.values()) for (const watcher of those) watcher.missed()
  }

  written(namespace: string, key: string, value: Json): void {
    for (const watcher of this.#watchers.get(namespace) ?? []) watcher.written(key, value)
  }
}
