import { isMachineName } from '../../protocol/codec/heads.ts'
import { tokenInvalid } from './errors.ts'
import { TIERS, type Tier, type User } from './tokens.ts'

/** Printable ASCII without spaces: it goes into logs, key comments and authorized_keys. */
const SUBJECT = /^[\x21-\x7e]{1,128}$/
const ROLE = /^[\w:.-]{1,64}$/
const MAX_ROLES = 32

/** The user of claims whose signature and times have been checked. Throws TOKEN_INVALID. */
export function userOf(claims: unknown, clockToleranceMs: number): User {
  if (typeof claims !== 'object' || claims === null) throw tokenInvalid('its payload is not an object')
  const { sub, exp, tier, roles, machine } = claims as Record<string, unknown>
  if (typeof sub !== 'string' || !SUBJECT.test(sub)) {
    throw tokenInvalid('its sub must be 1 to 128 visible ASCII characters')
  }
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw tokenInvalid('it never expires (no exp)')
  const user: User = {
    sub,
    tier: tierOf(tier),
    roles: rolesOf(roles),
    expiresAtMs: exp * 1_000 + clockToleranceMs,
  }
  if (machine === undefined) return user
  if (typeof machine !== 'string' || !isMachineName(machine)) throw tokenInvalid('its machine is not a name')
  return { ...user, machine }
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
