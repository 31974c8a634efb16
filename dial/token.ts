import { TunnelError } from '../protocol/codec/errors.ts'

/** A token, or what gives one; asked before every dial, and again before the last one expires. */
export type TokenProvider = string | (() => string | Promise<string>)

/** The share of its life after which a token is replaced on a link that stays. */
const REFRESH_AT = 0.8

/** What a header can carry as a credential (RFC 9110, section 11.2), and more. */
const VISIBLE = /^[\x21-\x7e]+$/

/** @throws {TunnelError} TOKEN_MISSING when there is none, or the provider fails; TOKEN_INVALID for what cannot be one. */
export async function askToken(provider: TokenProvider): Promise<string> {
  let token: unknown
  try {
    token = typeof provider === 'function' ? await provider() : provider
  } catch (error) {
    if (error instanceof TunnelError) throw error
    throw new TunnelError('TOKEN_MISSING', 'the token provider failed', { cause: error, hop: 'client' })
  }
  if (typeof token !== 'string' || token === '') {
    throw new TunnelError('TOKEN_MISSING', 'there is no token', { hop: 'client' })
  }
  if (!VISIBLE.test(token)) {
    const why =
      'the token holds white space or a character that no token has: its file may be saved as UTF-16, or its line wrapped'
    throw new TunnelError('TOKEN_INVALID', why, { hop: 'client' })
  }
  return token
}

/** When a JWT expires (RFC 7519, section 4.1.4), in epoch ms; undefined when it does not say. Verifies nothing. */
export function expiryOf(token: string): number | undefined {
  const payload = token.split('.')[1]
  if (payload === undefined) return undefined
  try {
    const claims: unknown = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')))
    const exp = (claims as { exp?: unknown } | null)?.exp
    return typeof exp === 'number' ? exp * 1_000 : undefined
  } catch {
    return undefined
  }
}

/** In how long a fresh token should replace this one, in ms; undefined for one that does not expire. */
export function refreshInMs(token: string, nowMs: number): number | undefined {
  const expiresAtMs = expiryOf(token)
  return expiresAtMs === undefined ? undefined : Math.max(0, (expiresAtMs - nowMs) * REFRESH_AT)
}
