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
