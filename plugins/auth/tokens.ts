import { createHmac, hash, randomBytes } from 'node:crypto'

export const TIERS = ['free', 'premium', 'enterprise'] as const
export type Tier = (typeof TIERS)[number]

/** What tells one token from all others, and when it was given out: by this it is revoked. */
export interface Credential {
  /** A hash of what its signature covers: another spelling of the signature is the same token. */
  id: string
  /** Epoch ms; 0 where the token does not say. */
  issuedAtMs: number
  /** The session whose refresh tokens it came by. */
  session?: string
  /** It can be shown again after the user's `expiresAtMs`: revoked, it is for good. */
  isLasting?: boolean
}

/** Who a verified token speaks for. */
export interface User {
  sub: string
  tier: Tier
  roles: string[]
  /** The only machine that an agent may enrol with it; any of the user's where it is absent. */
  machine?: string
  /** Epoch ms from which this proxy no longer honours the token (exp and the tolerance of clocks). */
  expiresAtMs: number
  /** Absent where a custom plugin knows the user by other means than a token: then only all of the user is revoked. */
  credential?: Credential
}

export interface TokenRequest {
  sub: string
  /** @default 'free' */
  tier?: string
  /** @default [] */
  roles?: readonly string[]
  /** The only machine that its agent may enrol. */
  machine?: string
  /** The session that it belongs to, and ends with. */
  session?: string
  ttlSeconds: number
  /** Left out of the token where it is empty. @default DEFAULT_NAME */
  issuer?: string
  /** Left out of the token where it is empty. @default DEFAULT_NAME */
  audience?: string
}

/** Who gives out tokens, and for whom, unless the settings say otherwise. */
export const DEFAULT_NAME = 'ssh-websocket-tunnel'

/**
 * A token signed with this server's own secret (HS256). It needs no Fastify, so that the command line starts fast;
 * what it writes is checked by `app.auth.verify` alone.
 */
export function signToken(secret: string, request: TokenRequest): string {
  return signed(secret, 'JWT', claimsOf(request))
}

/** The claims that every token of this server has. */
export function claimsOf(request: TokenRequest): Record<string, unknown> {
  const issuedAt = Math.floor(Date.now() / 1_000)
  const { sub, tier = 'free', roles = [], machine, session, ttlSeconds } = request
  const { issuer = DEFAULT_NAME, audience = DEFAULT_NAME } = request
  return {
    sub,
    tier,
    roles,
    iat: issuedAt,
    exp: issuedAt + ttlSeconds,
    // Two tokens of the same second are two: one of them can be revoked.
    jti: randomBytes(12).toString('base64url'),
    ...(machine !== undefined && { machine }),
    ...(session !== undefined && { sid: session }),
    ...(issuer !== '' && { iss: issuer }),
    ...(audience !== '' && { aud: audience }),
  }
}

export function signed(secret: string | Buffer, typ: string, claims: object): string {
  const input = `${encoded({ alg: 'HS256', typ })}.${encoded(claims)}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

function encoded(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/**
 * The same for every spelling of a token that verifies: of base64url and of ECDSA signatures there are several, so
 * only what is signed counts.
 */
export function credentialId(token: string): string {
  return hash('sha256', token.slice(0, token.lastIndexOf('.')), 'base64url')
}
