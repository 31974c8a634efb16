import type { ConnectionState } from '../dial/connection-state.ts'
import { TunnelError } from '../protocol/codec/errors.ts'

/**
 * Where a client stands; each state has what is known in it and nothing else. Times are milliseconds of `Date.now()`.
 * - `disconnected`: never dialled.
 * - `connecting`: the first dial of a `connect()`.
 * - `reconnecting`: the link is lost, or a patient first dial is repeated; requests and streams wait.
 * - `closed`: given up, or ended by `disconnect()`. After the former `connect()` starts afresh.
 */
export type TunnelStatus =
  | { readonly state: 'disconnected' }
  | { readonly state: 'connecting' }
  | { readonly state: 'connected'; readonly sinceMs: number }
  | {
      readonly state: 'reconnecting'
      /** Dials since the link was lost, the next one included. */
      readonly attempt: number
      /** When the next dial is made, or was. */
      readonly nextDialMs: number
      /** Why the link, or the dial before, was lost. */
      readonly error: TunnelError
    }
  | {
      readonly state: 'closed'
      readonly reason: TunnelError
      /** `disconnect()` was called: there is no way back. */
      readonly final: boolean
    }

export type TunnelState = ConnectionState

/** Why nothing can be sent in a state that brings no link. */
export function notConnected(status: TunnelStatus): TunnelError {
  const cause = status.state === 'closed' ? status.reason : undefined
  const options = { cause, hop: 'client' } as const
  return new TunnelError('LINK_LOST', 'the client is not connected: call connect() first', options)
}

/** Why nothing can be sent once `disconnect()` was called. */
export function disconnected(): TunnelError {
  return new TunnelError('ABORTED', 'this client was disconnected', { hop: 'client' })
}
