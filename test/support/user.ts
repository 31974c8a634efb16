import type { User } from '../../plugins/auth/index.ts'

/** A user as a token that holds makes one. */
export function userOf(sub: string, more: Partial<User> = {}): User {
  return { sub, tier: 'enterprise', roles: [], expiresAtMs: Number.POSITIVE_INFINITY, ...more }
}
