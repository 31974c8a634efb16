import { TunnelError } from './errors.ts'

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
