import { TunnelError } from '../../protocol/codec/errors.ts'

/** Nobody is there to read it: the connection went before its request was looked at. */
export function peerGone(): TunnelError {
  return new TunnelError('ABORTED', 'the connection was closed before its request was answered', {
    hop: 'proxy',
  })
}

export function ipLimited(perMinute: number, retryAfterMs: number): TunnelError {
  return new TunnelError('RATE_LIMITED', `more than ${perMinute} requests a minute from this address`, {
    hop: 'proxy',
    retryAfterMs,
  })
}

export function streamsLimited(tier: string, perMinute: number, retryAfterMs: number): TunnelError {
  return new TunnelError(
    'RATE_LIMITED',
    `more than ${perMinute} streams a minute, the limit of tier ${tier}`,
    {
      hop: 'proxy',
      retryAfterMs,
    },
  )
}
