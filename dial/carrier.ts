import type { TunnelError } from '../protocol/codec/errors.ts'
import type { TransportKind } from '../protocol/link/transport.ts'

/** That links are carried by something else than before, as a sentence for people. */
export function carriedBy(transport: TransportKind, why: TunnelError | undefined): string {
  if (transport !== 'http') return 'links go by WebSocket again'
  return `WebSocket does not pass here${why === undefined ? '' : ` (${why.message})`}; using HTTP streaming`
}
