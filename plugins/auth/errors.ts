import { TunnelError } from '../../protocol/codec/errors.ts'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'

// No text here may quote a token or a part of one: these go to peers and into logs.

export function tokenMissing(): TunnelError {
  return new TunnelError('TOKEN_MISSING', 'no token was sent; send it as "Authorization: Bearer <token>"', {
    hop: 'proxy',
  })
}

export function tokenInvalid(reason: string): TunnelError {
  return new TunnelError('TOKEN_INVALID', `the token is not valid: ${reason}`, { hop: 'proxy' })
}

export function tokenExpired(): TunnelError {
  return new TunnelError('TOKEN_EXPIRED', 'the token has expired; get a new one', { hop: 'proxy' })
}

/** The issuer does not answer, and its keys were never read or are too old. */
export function keysUnavailable(retryAfterMs: number): TunnelError {
  const message = "the keys of the tokens' issuer cannot be read just now"
  return new TunnelError('STATE_UNAVAILABLE', message, { hop: 'proxy', retryAfterMs })
}

export function tokenRevoked(): TunnelError {
  return new TunnelError('TOKEN_REVOKED', 'the token was revoked; get a new one', { hop: 'proxy' })
}

/** Those that were read last are too old to go by. */
export function revocationsUnknown(): TunnelError {
  const message = 'which tokens were revoked cannot be read just now'
  return new TunnelError('STATE_UNAVAILABLE', message, { hop: 'proxy', retryAfterMs: 2_000 })
}

/** The same words whether it was used, has expired, or never existed: whoever guesses learns nothing. */
export function ticketInvalid(): TunnelError {
  const message = 'this ticket is not valid: it was used, has expired, or never existed'
  return new TunnelError('TICKET_INVALID', message, { hop: 'proxy' })
}

export function refreshInvalid(): TunnelError {
  return new TunnelError('TOKEN_INVALID', 'the refresh token is not valid; log in anew', { hop: 'proxy' })
}

/** A refresh token came for the second time: its session has ended. */
export class RefreshReused extends TunnelError {
  readonly sub: string
  readonly session: string

  constructor(sub: string, session: string) {
    const message = 'the refresh token was used before, so its session has ended; log in anew'
    super('TOKEN_REVOKED', message, { hop: 'proxy' })
    this.sub = sub
    this.session = session
  }
}

export function twoRevocations(): TunnelError {
  return new TunnelError('REQUEST_INVALID', 'give token or sub, not both of them', { hop: 'proxy' })
}

export function tokenUnknown(): TunnelError {
  return new TunnelError('REQUEST_INVALID', 'this is not a token that this proxy could revoke', {
    hop: 'proxy',
  })
}

export function notYours(): TunnelError {
  const message = "only an admin may revoke what is another user's, and no agent all of its owner's tokens"
  return new TunnelError('FORBIDDEN', message, { hop: 'proxy' })
}

export function roleMissing(role: string): TunnelError {
  return new TunnelError('FORBIDDEN', `this needs the role "${role}"`, { hop: 'proxy' })
}

export function secretUnfit(byteLength: number): TunnelError {
  return new TunnelError(
    'CONFIG_INVALID',
    `auth.secret must have at least ${MIN_SECRET_BYTES} bytes, and has ${byteLength} (set TUNNEL_JWT_SECRET)`,
    { hop: 'proxy' },
  )
}

/** @param why what is wrong with the scheme that a plugin adds */
export function schemeUnfit(name: string, why: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', `the auth scheme "${name}" cannot be added: ${why}`, {
    hop: 'proxy',
  })
}

export function schemeSilent(name: string, ms: number): TunnelError {
  return new TunnelError('TIMEOUT', `the auth scheme "${name}" took longer than ${ms} ms`, { hop: 'proxy' })
}

export function schemeFailed(name: string, cause: unknown): TunnelError {
  return new TunnelError('INTERNAL', `the auth scheme "${name}" failed`, { hop: 'proxy', cause })
}
