import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { ForwardResponse } from '../forward-response.ts'
import type { HttpRequest } from '../request.ts'
import type { SetAside } from './journal.ts'
import type { RestoredRequest } from './queued-request.ts'
import type { StoredRequest } from './record.ts'

export interface KeeperEvents {
  restored: [RestoredRequest[]]
  'set-aside': [SetAside[]]
  error: [TunnelError]
}

/** Keeps requests from their acceptance to their outcome: this program itself, or another tab that has the queue. */
export interface RequestKeeper {
  on<Name extends keyof KeeperEvents>(name: Name, listener: (...args: KeeperEvents[Name]) => void): () => void
  /** Begins with what was kept before. @throws {TunnelError} QUEUE_LOCKED, STORE_FAILED, CONFIG_INVALID */
  start(): Promise<void>
  /** @throws {TunnelError} */
  send(stored: StoredRequest, http: HttpRequest): Promise<ForwardResponse>
  /** For the next start. @throws {TunnelError} */
  keep(stored: StoredRequest): Promise<void>
  /** Waits for what is written, and lets go of the store. */
  close(): Promise<void>
}
