import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { nearest } from '../protocol/nearest.ts'
import type { Problem } from './errors.ts'

/** The profiles there are; each has its file in `profiles/` and holds only what differs from the defaults. */
export const PROFILES = [
  'default',
  'development',
  'production',
  'stable-network',
  'unstable-network',
  'low-bandwidth',
] as const
export type Profile = (typeof PROFILES)[number]

export function isProfile(name: string): name is Profile {
  return (PROFILES as readonly string[]).includes(name)
}

/** The text of a profile's file. */
export function readProfile(name: Profile): string {
  return readFileSync(join(import.meta.dirname, 'profiles', `${name}.json`), 'utf8')
}

export function unknownProfile(name: string): Problem {
  const meant = nearest(name, PROFILES)
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`
  const reason = `${JSON.stringify(name)} is not a known profile; known are ${PROFILES.join(', ')}${hint}`
  return { kind: 'source', path: '', source: 'profile', reason }
}
