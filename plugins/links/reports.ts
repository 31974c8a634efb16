import type { Link } from '../../protocol/link/link.ts'
import type { TransportKind } from '../../protocol/link/transport.ts'
import type { LinkContext } from '../forward/index.ts'

/** A link that was accepted, and whose it is. */
export interface StandingLink extends LinkContext {
  role: 'client' | 'agent'
  /** When it was accepted. */
  readonly since: Date
}

/** A link that stands, as its user and an administrator see it. */
export interface LinkReport {
  connectionId: string
  user: string
  role: 'client' | 'agent'
  machine?: string
  software?: string
  transport: TransportKind
  since: string
  streams: number
  unsentBytes: number
  rttMs?: number
}

export function describe(link: Link, context: StandingLink): LinkReport {
  const { user, role, machine, connectionId, since } = context
  const { peer, transport, streamCount: streams, bufferedBytes, rttMs } = link
  return {
    ...{ connectionId, user: user.sub, role, transport, since: since.toISOString(), streams },
    unsentBytes: bufferedBytes,
    ...(machine !== undefined && { machine }),
    ...(peer !== undefined && { software: peer.software }),
    ...(rttMs !== undefined && { rttMs }),
  }
}

export function unsentBytes(links: Iterable<Link>): number {
  let bytes = 0
  for (const link of links) bytes += link.bufferedBytes
  return bytes
}
