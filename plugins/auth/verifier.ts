import { createVerifier, TokenError } from 'fast-jwt'
import { tokenExpired, tokenInvalid } from './errors.ts'

/** What every token has to say, whoever has signed it. */
export interface Demands {
  /** Empty: not asked for. */
  issuer: string
  /** Empty: not asked for. */
  audience: string
  clockToleranceMs: number
}

export type Claims = Record<string, unknown>
/** @throws {TunnelError} TOKEN_INVALID, TOKEN_EXPIRED */
export type Verify = (token: string) => Claims

/**
 * Types of tokens that give access (RFC 8725, section 3.11): a plain JWT, an access token (RFC 9068), or none. A token
 * of another type, such as an identity token that says so or a logout token, was made for something else.
 */
const ACCESS_TYPES: ReadonlySet<unknown> = new Set([undefined, 'jwt', 'at+jwt'])

/** What fast-jwt is asked to check; @fastify/jwt hands it on. */
export function verifyOptions(algorithms: readonly Algorithm[], demands: Demands) {
  const { issuer, audience, clockToleranceMs } = demands
  const required = ['sub', 'exp']
  if (issuer !== '') required.push('iss')
  if (audience !== '') required.push('aud')
  return {
    algorithms: [...algorithms],
    complete: true,
    cache: false,
    clockTolerance: clockToleranceMs,
    // fast-jwt checks a value only where there is one.
    requiredClaims: required,
    ...(issuer !== '' && { allowedIss: issuer }),
    ...(audience !== '' && { allowedAud: audience }),
  }
}

/**
 * A verifier for one key, which is used with `algorithms` and with no other (RFC 8725, section 3.1).
 * @param key a secret, or a public key in PEM
 */
export function verifierOf(
  key: string | Buffer,
  algorithms: readonly Algorithm[],
  demands: Demands,
  types: ReadonlySet<unknown> = ACCESS_TYPES,
): Verify {
  return checked(createVerifier({ key, ...verifyOptions(algorithms, demands) }), demands, types)
}

/**
 * What fast-jwt does not check, on top of what it does.
 * @param verify as `verifyOptions` make it
 */
export function checked(
  verify: (token: string) => unknown,
  { clockToleranceMs }: Demands,
  types: ReadonlySet<unknown> = ACCESS_TYPES,
): Verify {
  return (token) => {
    try {
      const { header, payload } = verify(token) as { header: Claims; payload: Claims }
      if (!types.has(typeOf(header.typ))) throw tokenInvalid('it is of a type that gives no access (typ)')
      // fast-jwt takes an empty `crit` for none; a header must not have one (RFC 7515, section 4.1.11).
      if ('crit' in header) throw tokenInvalid('it asks for an extension that is not known here (crit)')
      checkIssuedAt(payload.iat, clockToleranceMs)
      return payload
    } catch (error) {
      throw error instanceof TokenError ? refusal(error) : error
    }
  }
}

export type Algorithm = 'HS256' | 'RS256' | 'PS256' | 'ES256' | 'EdDSA'

/** Case does not count, and `application/` may be left out (RFC 7515, section 4.1.9). */
function typeOf(typ: unknown): unknown {
  return typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : typ
}

/** A time of issue that is still to come would outlive the revocation of all tokens issued so far. */
function checkIssuedAt(iat: unknown, clockToleranceMs: number): void {
  if (iat === undefined) return
  if (typeof iat !== 'number' || !Number.isFinite(iat)) throw tokenInvalid('its iat is not a time')
  if (iat * 1_000 > Date.now() + clockToleranceMs) throw tokenInvalid('it was issued in the future (iat)')
}

/** Errors of fast-jwt by their code; its texts can hold claims, so they stay in the cause. */
function refusal({ code }: TokenError): Error {
  if (code === TokenError.codes.expired) return tokenExpired()
  if (code === TokenError.codes.inactive) return tokenInvalid('it is not valid yet (nbf)')
  if (code === TokenError.codes.missingRequiredClaim)
    return tokenInvalid('sub, exp, or a configured iss or aud is missing')
  if (code === TokenError.codes.invalidClaimValue)
    return tokenInvalid('iss or aud is not the one this proxy takes')
  return tokenInvalid('its signature or form is wrong')
}
