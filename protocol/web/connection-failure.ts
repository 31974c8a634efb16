import { TunnelError } from '../codec/errors.ts'
import type { connectionFailure as inPrograms } from '../link/connection-failure.ts'

/** A page is told no reason but the time-out. Bundles for browsers have this in place of link/connection-failure.ts. */
export const connectionFailure: typeof inPrograms = (where, cause) => {
  const options = { cause, hop: 'proxy' } as const
  if (cause instanceof TunnelError) return cause
  if (cause instanceof Error && cause.name === 'TimeoutError')
    return new TunnelError('TIMEOUT', `${where} did not answer in time`, options)
  return new TunnelError('CONNECT_REFUSED', `${where} could not be reached (${cause})`, options)
}
