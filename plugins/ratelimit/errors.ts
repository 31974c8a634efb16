import { TunnelError } from '../../protocol/codec/errors.ts'

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
