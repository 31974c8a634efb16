import type { TunnelError } from '../protocol/codec/errors.ts'

/**
 * - `disconnected`: not dialled yet, or given up: `connect()` may be called.
 * - `connecting`: the first dial.
 * - `reconnecting`: the link is lost, or the first dial is repeated; streams wait.
 * - `closed`: for good.
 */
export type ConnectionState = 'disconnected' | 'connecting' | 'connected' | 'reconnecting' | 'closed'

export interface Redial {
  /** Dials since the link was lost, from 1. */
  attempt: number
  /** Before this dial, in ms. */
  delayMs: number
  /** Why the link, or the dial before, was lost. */
  error: TunnelError
}
