import { isMachineName } from '../../protocol/codec/heads.ts'
import { tokenInvalid } from './errors.ts'
import { isSubject, SUBJECT_RULE } from './subject.ts'
import { credentialId, TIERS, type Tier, type User } from './tokens.ts'
import type { Claims } from './verifier.ts'

/** What may be a role's name. */
export const ROLE = /^[\w:.-]{1,64}$/
const MAX_ROLES = 32
const SESSION = /^[\w-]{8,64}$/

/**
 * The user of a token whose signature and times have been checked. Throws TOKEN_INVALID.
 * @param isOwn this server has signed it: an issuer's `sid` is another kind of session
 */
export function userOf(token: string, claims: Claims, clockToleranceMs: number, isOwn: boolean): User {
  const { exp, iat, sid } = claims
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw tokenInvalid('it never expires (no exp)')
  const session = isOwn && typeof sid === 'string' && SESSION.test(sid) ? sid : undefined
  return {
    ...bearerOf(claims),
    expiresAtMs: exp * 1_000 + clockToleranceMs,
    credential: {
      id: credentialId(token),
      issuedAtMs: typeof iat === 'number' ? iat * 1_000 : 0,
      ...(session !== undefined && { session }),
    },
  }
}

/** What claims say of whoever has the token. Throws TOKEN_INVALID. */
export function bearerOf(claims: Claims): Pick<User, 'sub' | 'tier' | 'roles' | 'machine'> {
  const { sub, tier, roles, machine } = claims
  if (!isSubject(sub)) throw tokenInvalid(`its sub is not valid: ${SUBJECT_RULE}`)
  const bearer = { sub, tier: tierOf(tier), roles: rolesOf(roles) }
  if (machine === undefined) return bearer
  if (typeof machine !== 'string' || !isMachineName(machine)) throw tokenInvalid('its machine is not a name')
  return { ...bearer, machine }
}

function tierOf(tier: unknown): Tier {
  if (tier === undefined) return 'free'
  const known = TIERS.find((name) => name === tier)
  if (known === undefined) throw tokenInvalid('its tier is unknown')
  return known
}

function rolesOf(roles: unknown): string[] {
  if (roles === undefined) return []
  if (!Array.isArray(roles) || roles.length > MAX_ROLES)
    throw tokenInvalid(`its roles are not a list of at most ${MAX_ROLES}`)
  return roles.map((role: unknown) => {
    if (typeof role !== 'string' || !ROLE.test(role))
      throw tokenInvalid('one of its roles is not a plain name')
    return role
  })
}
