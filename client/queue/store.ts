import type { TunnelError } from '../../protocol/codec/errors.ts'

/** One thing that changes; without a value the key goes. */
export interface StoreChange {
  readonly key: string
  readonly value: Uint8Array | undefined
}

/** Where a queue keeps its requests: LevelDB, IndexedDB, memory, or a program's own. One program has it at a time. */
export interface QueueStore {
  /** What has a key that begins with `prefix`, in the order of the keys (plain ASCII). */
  entries(prefix: string): Promise<[key: string, value: Uint8Array][]>
  /**
   * All of the changes or none, after all earlier ones. Rejects where they could not be written.
   * @param isDurable they survive a power failure when the promise has resolved; otherwise the end of this program
   */
  write(changes: readonly StoreChange[], isDurable: boolean): Promise<void>
  /** What was found damaged when it was opened, in words. */
  readonly damage?: readonly string[]
  /**
   * Hands over what other programs have left for whoever has the store.
   * @param failed told once of what cannot be handed over, which is tried again
   */
  receive?(take: Take, failed: (error: TunnelError) => void): void
  close(): Promise<void>
}

/**
 * Takes what another program has left: resolves when it is in the store, to what is to be called when it is gone from
 * where it was left and can no longer come again.
 */
export type Take = (name: string, value: Uint8Array) => Promise<() => void>
