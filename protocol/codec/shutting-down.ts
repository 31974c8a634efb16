import { TunnelError } from './errors.ts'

/** When another proxy takes what one that leaves refuses, in ms. */
export const SUCCESSOR_MS = 1_000

/**
 * The proxy leaves.
 * @param retryAfterMs for what it refuses, of which nothing was begun: when another will take that, in ms. Without it, what
 * had been begun ends here.
 */
export function shuttingDown(retryAfterMs?: number): TunnelError {
  const text = 'the proxy is shutting down'
  const when = retryAfterMs === undefined ? {} : { retryAfterMs }
  return new TunnelError('SHUTTING_DOWN', text, { hop: 'proxy', ...when })
}
