import { TunnelError } from '../../protocol/codec/errors.ts'

/** Nobody is there to read it: the connection went before its request was looked at. */
export function peerGone(): TunnelError {
  return new TunnelError('ABORTED', 'the connection was closed before its request was answered', {
    hop: 'proxy',
  })
}

function limited(message: string, retryAfterMs: number): TunnelError {
  return new TunnelError('RATE_LIMITED', message, { hop: 'proxy', retryAfterMs })
}

export function ipLimited(perMinute: number, retryAfterMs: number): TunnelError {
  return limited(`more than ${perMinute} requests a minute from this address`, retryAfterMs)
}

export function penalised(retryAfterMs: number): TunnelError {
  return limited('too much from this address was refused', retryAfterMs)
}

export function userLimited(tier: string, perMinute: number, retryAfterMs: number): TunnelError {
  const what = `more than ${perMinute} streams and requests a minute, the limit of tier ${tier}`
  return limited(what, retryAfterMs)
}

export function linksLimited(tier: string, perMinute: number, retryAfterMs: number): TunnelError {
  return limited(`more than ${perMinute} links a minute, the limit of tier ${tier}`, retryAfterMs)
}

export function routeLimited(retryAfterMs: number): TunnelError {
  return limited('too many such requests within a minute', retryAfterMs)
}
