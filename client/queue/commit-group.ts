import type { Clock } from '../../protocol/clock.ts'
import type { QueueStore, StoreChange } from './store.ts'

interface Commit {
  readonly changes: readonly StoreChange[]
  /** Somebody waits until it is on disk; absent for what may follow later. */
  readonly waiter?: { resolve(): void; reject(error: unknown): void }
}

/** Before what could not be written is tried again, in ms. */
const RETRY_MS = 1_000

/** Group commit: while one write is being synced, all that comes gathers for the next. In order. */
export class CommitGroup {
  readonly #store: QueueStore
  readonly #clock: Clock
  #waiting: Commit[] = []
  #writing: Promise<void> | undefined
  #retry: unknown
  #isClosed = false

  constructor(store: QueueStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** Resolves when the changes survive a power failure. Rejects where they could not be written; they do not stay then. */
  write(changes: readonly StoreChange[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ changes, waiter: { resolve, reject } })
      this.#begin()
    })
  }

  /** Written soon, and again and again until it could be. */
  writeLater(changes: readonly StoreChange[]): void {
    this.#waiting.push({ changes })
    this.#begin()
  }

  /** Writes what waits, or gives up what cannot be written now. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#writing
    if (this.#waiting.length > 0) await this.#writeAll()
    this.#clock.clearTimer(this.#retry)
  }

  #begin(): void {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined
    })
  }

  async #writeAll(): Promise<void> {
    this.#clock.clearTimer(this.#retry)
    // What comes in the same turn goes together.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      if (await this.#writeGroup(group)) continue
      if (!this.#isClosed) this.#retry = this.#clock.setTimer(() => this.#begin(), RETRY_MS)
      // Only what may follow later is left, and those who came meanwhile.
      if (!this.#waiting.some(({ waiter }) => waiter !== undefined)) return
    }
  }

  async #writeGroup(group: readonly Commit[]): Promise<boolean> {
    const changes = group.flatMap((commit) => commit.changes)
    try {
      const isDurable = group.some(({ waiter }) => waiter !== undefined)
      await this.#store.write(changes, isDurable)
      for (const { waiter } of group) waiter?.resolve()
      return true
    } catch (error) {
      const again = group.map((commit): Commit => (commit.waiter === undefined ? commit : undone(commit)))
      this.#waiting = [...again, ...this.#waiting]
      for (const { waiter } of group) waiter?.reject(error)
      return false
    }
  }
}

/** A write that failed may have left what it wrote: whoever was refused must not find it at the next start. */
function undone({ changes }: Commit): Commit {
  return { changes: changes.map(({ key }) => ({ key, value: undefined })) }
}
