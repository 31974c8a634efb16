import { createHmac } from 'node:crypto'

export const TIERS = ['free', 'premium', 'enterprise'] as const
export type Tier = (typeof TIERS)[number]

/** Who a verified token speaks for. */
export interface User {
  sub: string
  tier: Tier
  roles: string[]
  /** The only machine that an agent may enrol with it; any of the user's where it is absent. */
  machine?: string
  /** Epoch ms from which this proxy no longer honours the token (exp and the tolerance of clocks). */
  expiresAtMs: number
}

export interface TokenRequest {
  sub: string
  /** @default 'free' */
  tier?: string
  /** @default [] */
  roles?: readonly string[]
  /** The only machine that its agent may enrol. */
  machine?: string
  ttlSeconds: number
  issuer?: string
  audience?: string
}

/**
 * A token signed with this server's own secret (HS256). It needs no Fastify, so that the command line starts fast;
 * what it writes is checked by `app.auth.verify` alone.
 */
export function signToken(secret: string, request: TokenRequest): string {
  const issuedAt = Math.floor(Date.now() / 1_000)
  const claims: Record<string, unknown> = {
    sub: request.sub,
    tier: request.tier ?? 'free',
    roles: request.roles ?? [],
    iat: issuedAt,
    exp: issuedAt + request.ttlSeconds,
  }
  if (request.machine !== undefined) claims.machine = request.machine
  if (request.issuer !== undefined && request.issuer !== '') claims.iss = request.issuer
  if (request.audience !== undefined && request.audience !== '') claims.aud = request.audience
  const input = `${encoded({ alg: 'HS256', typ: 'JWT' })}.${encoded(claims)}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

function encoded(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
