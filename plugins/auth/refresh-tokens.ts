import { hkdfSync, randomBytes } from 'node:crypto'
import { claimsOf, signed, type TokenRequest } from './tokens.ts'

/** The type in a refresh token's header: nothing else takes it, and its key is another one too. */
export const REFRESH_TYPE = 'tunnel-refresh+jwt'
const SESSION_BYTES = 16

/** For whom the tokens are that it gives. */
export type RefreshBearer = Pick<TokenRequest, 'sub' | 'tier' | 'roles' | 'machine'>

export interface RefreshOptions {
  /** The server's, from which the key is derived. */
  secret: string
  refreshTtlMs: number
}

/**
 * The first refresh token of a new session. It stands for itself, so that it can be made where the proxy's records are
 * out of reach; they know of the session from its first use on.
 */
export function firstRefreshToken(options: RefreshOptions, bearer: RefreshBearer): string {
  return refreshToken(options, { ...bearer, session: randomBytes(SESSION_BYTES).toString('base64url') }, 0)
}

export function refreshToken(
  { secret, refreshTtlMs }: RefreshOptions,
  bearer: RefreshBearer & { session: string },
  number: number,
): string {
  const ttlSeconds = Math.floor(refreshTtlMs / 1_000)
  return signed(refreshKey(secret), REFRESH_TYPE, { ...claimsOf({ ...bearer, ttlSeconds }), number })
}

/** A key of its own, so that no refresh token is an access token, nor the other way round. */
export function refreshKey(secret: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', 'ssh-websocket-tunnel refresh tokens', 32))
}
