import { TunnelError } from '../../protocol/codec/errors.ts'

/** When to ask again for a place: the true time is not known, and this is seldom enough. */
const RETRY_AFTER_MS = 1_000

export function poolExhausted(machine: string, waitedMs: number): TunnelError {
  return new TunnelError(
    'POOL_EXHAUSTED',
    `no SSH channel to ${machine} became free within ${waitedMs} ms: all of your connections are in use`,
    { hop: 'proxy', retryAfterMs: RETRY_AFTER_MS },
  )
}

export function tooManyWaiting(limit: number): TunnelError {
  return new TunnelError(
    'POOL_EXHAUSTED',
    `${limit} of your requests are waiting for an SSH channel already`,
    {
      hop: 'proxy',
      retryAfterMs: RETRY_AFTER_MS,
    },
  )
}

export function waitAborted(machine: string): TunnelError {
  return new TunnelError('ABORTED', `the wait for an SSH channel to ${machine} was given up`, {
    hop: 'proxy',
  })
}
