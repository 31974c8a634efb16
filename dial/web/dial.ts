import { TunnelError } from '../../protocol/codec/errors.ts'
import type { DialOptions, Transport } from '../../protocol/link/transport.ts'
import { openWebSocket } from '../../protocol/web/websocket.ts'
import { addressOf } from '../addresses.ts'
import { callProxy } from '../api.ts'

/**
 * Dials from a page. A browser sends no header with a WebSocket, and a token in an address ends in logs: so the token
 * asks for a ticket, which is good for this one dial.
 * @throws {TunnelError} what the proxy says of the token; CONNECT_REFUSED, TIMEOUT, ABORTED
 */
export async function dialFromPage(url: string, options: DialOptions): Promise<Transport> {
  const token = options.headers?.authorization?.replace('Bearer ', '')
  const { timeoutMs, signal } = options
  const ask = {
    route: 'auth/ticket',
    method: 'POST',
    timeoutMs,
    signal,
    ...(token !== undefined && { token }),
  }
  const answer = await callProxy([addressOf(url)], ask)
  const ticket = (answer as { ticket?: unknown } | null)?.ticket
  if (typeof ticket === 'string') return openWebSocket(`${url}?ticket=${encodeURIComponent(ticket)}`, options)
  throw new TunnelError('CONNECT_REFUSED', 'what answers there is not a tunnel proxy', { hop: 'proxy' })
}
