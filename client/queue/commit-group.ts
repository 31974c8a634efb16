import type { Clock } from '../../protocol/clock.ts'
import { asStoreFailed } from './errors.ts'
import type { QueueStore, StoreChange } from './store.ts'

interface Commit {
  readonly changes: readonly StoreChange[]
  /** Somebody waits until it is on disk; what nobody waits for may follow later. */
  readonly isAwaited: boolean
}

/** What becomes of the next write: one promise for all who wait for it. */
interface Outcome {
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Before what could not be written is tried again, in ms. */
const RETRY_MS = 1_000

/** Group commit: while one write is being synced, all that comes gathers for the next. In order. */
export class CommitGroup {
  readonly #store: QueueStore
  readonly #clock: Clock
  #waiting: Commit[] = []
  /** Absent while nobody waits for one of them. */
  #outcome: Outcome | undefined
  #writing: Promise<void> | undefined
  #retry: unknown
  #isClosed = false

  constructor(store: QueueStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** Resolves when the changes survive a power failure. Rejects where they could not be written; they do not stay then. */
  write(changes: readonly StoreChange[]): Promise<void> {
    this.#waiting.push({ changes, isAwaited: true })
    this.#outcome ??= newOutcome()
    this.#begin()
    return this.#outcome.promise
  }

  /** Written soon, and again and again until it could be. */
  writeLater(changes: readonly StoreChange[]): void {
    this.#waiting.push({ changes, isAwaited: false })
    this.#begin()
  }

  /** When what was given until now is written, or cannot be written for the moment. */
  async settled(): Promise<void> {
    await this.#writing
  }

  /** Writes what waits, or gives up what cannot be written now. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#writing
    if (this.#waiting.length > 0) {
      this.#begin()
      await this.#writing
    }
  }

  #begin(): void {
    this.#writing ??= this.#writeAll()
  }

  async #writeAll(): Promise<void> {
    // What comes in the same turn goes together.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      this.#clock.clearTimer(this.#retry)
      if (await this.#writeGroup()) continue
      if (!this.#isClosed) this.#retry = this.#clock.setTimer(() => this.#begin(), RETRY_MS)
      // Only what may follow later is left, and those who came meanwhile.
      if (this.#outcome === undefined) break
    }
    // Here and not when the promise has resolved: whoever comes in between would wait for somebody else to come.
    this.#writing = undefined
  }

  async #writeGroup(): Promise<boolean> {
    const group = this.#waiting
    const outcome = this.#outcome
    this.#waiting = []
    this.#outcome = undefined
    const changes = group.flatMap((commit) => commit.changes)
    try {
      await this.#store.write(changes, outcome !== undefined)
      outcome?.resolve()
      return true
    } catch (error) {
      this.#waiting = [...group.map(again), ...this.#waiting]
      outcome?.reject(asStoreFailed('the queue cannot be written to', error))
      return false
    }
  }
}

function newOutcome(): Outcome {
  let resolve!: () => void
  let reject!: (error: unknown) => void
  const promise = new Promise<void>((ok, fail) => {
    resolve = ok
    reject = fail
  })
  return { promise, resolve, reject }
}

/** A write that failed may have left what it wrote: whoever was refused must not find it at the next start. */
function again({ changes, isAwaited }: Commit): Commit {
  if (!isAwaited) return { changes, isAwaited }
  return { changes: changes.map(({ key }) => ({ key, value: undefined })), isAwaited: false }
}
