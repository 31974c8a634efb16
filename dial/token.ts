import type { Clock } from '../protocol/clock.ts'
import { TunnelError } from '../protocol/codec/errors.ts'

/** What a provider is told of why it is asked. */
export interface TokenAsk {
  /** The token that the proxy has just refused: another one is wanted. */
  refused?: string
}

/** A token, or what gives one; asked before every dial, and again before the last one expires. */
export type TokenProvider = string | ((ask: TokenAsk) => string | Promise<string>)

/** How long an answer of a provider is waited for by all who want one, in ms: a password manager may ask its owner. */
export const PATIENCE_MS = 60_000

/** The share of its life after which a token is replaced on a link that stays. */
const REFRESH_AT = 0.8

/** What a header can carry as a credential (RFC 9110, section 11.2), and more. */
const VISIBLE = /^[\x21-\x7e]+$/

/** A proxy takes no request with a longer one, in characters. */
const MAX_TOKEN = 16_384

/** @throws {TunnelError} TOKEN_MISSING when there is none, or the provider fails; TOKEN_INVALID for what cannot be one. */
export async function askToken(provider: TokenProvider, ask: TokenAsk = {}): Promise<string> {
  let token: unknown
  try {
    token = typeof provider === 'function' ? await provider(ask) : provider
  } catch (error) {
    if (error instanceof TunnelError) throw error
    throw new TunnelError('TOKEN_MISSING', 'the token provider failed', { cause: error, hop: 'client' })
  }
  if (typeof token !== 'string' || token === '') {
    throw new TunnelError('TOKEN_MISSING', 'there is no token', { hop: 'client' })
  }
  if (token.length > MAX_TOKEN) {
    const why = `the token has ${token.length} characters, and no request carries more than ${MAX_TOKEN}`
    throw new TunnelError('TOKEN_INVALID', why, { hop: 'client' })
  }
  if (!VISIBLE.test(token)) {
    const why =
      'the token holds white space or a character that no token has: its file may be saved as UTF-16, or its line wrapped'
    throw new TunnelError('TOKEN_INVALID', why, { hop: 'client' })
  }
  return token
}

/**
 * The same provider, which is asked once at a time: who asks while it thinks gets the same answer. After PATIENCE_MS
 * without one it is asked anew.
 */
export function oneAtATime(provider: TokenProvider, clock: Clock): TokenProvider {
  if (typeof provider !== 'function') return provider
  let asked: { readonly atMs: number; readonly answer: Promise<string> } | undefined
  return (ask) => {
    const nowMs = clock.now()
    if (asked === undefined || nowMs - asked.atMs >= PATIENCE_MS) {
      const answer = (async () => provider(ask))().finally(() => {
        if (asked === mine) asked = undefined
      })
      const mine = { atMs: nowMs, answer }
      asked = mine
    }
    return asked.answer
  }
}

export interface Patience {
  clock: Clock
  ms: number
  signal?: AbortSignal
}

/** As `askToken`, for a provider that may never answer. @throws {TunnelError} also TIMEOUT, and ABORTED by the signal */
export function askTokenWithin(
  provider: TokenProvider,
  { clock, ms, signal }: Patience,
  ask?: TokenAsk,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clock.clearTimer(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    const end = (error: TunnelError): void => {
      settle()
      reject(error)
    }
    const onAbort = () => end(new TunnelError('ABORTED', 'the dial was called off', { hop: 'client' }))
    const text = `the token provider gave no token within ${ms / 1_000} s`
    const late = () => end(new TunnelError('TIMEOUT', text, { hop: 'client', suggestion: LATE }))
    const timer = clock.setTimer(late, ms)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) return onAbort()
    askToken(provider, ask).then((token) => {
      settle()
      resolve(token)
    }, end)
  })
}

const LATE = 'see what the token provider waits for'

/** When a JWT expires (RFC 7519, section 4.1.4), in epoch ms; undefined when it does not say. Verifies nothing. */
export function expiryOf(token: string): number | undefined {
  return timeIn(token, 'exp')
}

/** When a JWT was made, by its issuer's clock (RFC 7519, section 4.1.6), in epoch ms; undefined when it does not say. */
export function issuedOf(token: string): number | undefined {
  return timeIn(token, 'iat')
}

function timeIn(token: string, claim: 'exp' | 'iat'): number | undefined {
  const seconds = claimIn(token, claim)
  return typeof seconds === 'number' ? seconds * 1_000 : undefined
}

/** What a JWT says of `claim`, each byte of it a character; undefined for what is no JWT. Verifies nothing. */
export function claimIn(token: string, claim: string): unknown {
  const payload = token.split('.')[1]
  if (payload === undefined) return undefined
  try {
    const claims: unknown = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')))
    return (claims as Record<string, unknown> | null)?.[claim]
  } catch {
    return undefined
  }
}

/** In how long a fresh token should replace this one, in ms; undefined for one that does not expire. */
export function refreshInMs(token: string, nowMs: number): number | undefined {
  const expiresAtMs = expiryOf(token)
  return expiresAtMs === undefined ? undefined : Math.max(0, (expiresAtMs - nowMs) * REFRESH_AT)
}
