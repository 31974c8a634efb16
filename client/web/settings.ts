import { TunnelError } from '../../protocol/codec/errors.ts'
import type { ClientOverrides, ClientSettings } from '../options.ts'

/** What a setting may be, as the schema in `options.ts` has it. */
interface Rule {
  default: unknown
  type?: 'integer' | 'number' | 'boolean' | 'string'
  minimum?: number
  maximum?: number
  choices?: readonly unknown[]
}

type Sections<T> = Record<string, Record<string, T>>

/** Sections that say how a program reaches its proxy. */
const BROWSERS_OWN = ['network', 'tls']

/** Written into the bundle by the build: a page loads neither TypeBox nor files. */
declare const BUILT_SETTINGS: { rules: Sections<Rule>; profiles: Record<string, Sections<unknown>> }

/**
 * The settings of a profile, with overrides on top.
 * @throws {TunnelError} CONFIG_INVALID with every mistake there is
 */
export async function loadSettings(
  profile = 'default',
  overrides: ClientOverrides = {},
): Promise<ClientSettings> {
  const { rules, profiles } = BUILT_SETTINGS
  if (!Object.hasOwn(profiles, profile))
    throw invalid(`profile = ${JSON.stringify(profile)}: is not a known profile`)
  const settings: Sections<unknown> = {}
  for (const [section, of] of Object.entries(rules)) {
    const defaults = Object.entries(of).map(([name, rule]) => [name, rule.default])
    settings[section] = { ...Object.fromEntries(defaults), ...profiles[profile]?.[section] }
  }
  const wrong: string[] = []
  for (const [section, given] of Object.entries(overrides)) {
    if (!Object.hasOwn(rules, section)) wrong.push(`${section}: a client has no such section`)
    if (BROWSERS_OWN.includes(section)) wrong.push(`${section}: in a page the browser decides on this`)
    for (const [name, value] of Object.entries(given ?? {})) {
      if (value === undefined) continue
      const reason = mistake(rules[section]?.[name], value)
      if (reason !== undefined) wrong.push(`${section}.${name} = ${JSON.stringify(value)}: ${reason}`)
      else (settings[section] as Record<string, unknown>)[name] = value
    }
  }
  if (wrong.length > 0) throw invalid(`in the client's settings: ${wrong.join('; ')}`)
  return settings as unknown as ClientSettings
}

function mistake(rule: Rule | undefined, value: unknown): string | undefined {
  if (rule === undefined) return 'there is no such setting'
  const { type, minimum, maximum, choices } = rule
  if (choices !== undefined) return choices.includes(value) ? undefined : `must be ${choices.join(', ')}`
  const isOfType = type === 'integer' ? Number.isInteger(value) : typeof value === type
  if (!isOfType) return `must be ${type}`
  if (minimum === undefined || maximum === undefined || typeof value !== 'number') return undefined
  return value >= minimum && value <= maximum ? undefined : `must be from ${minimum} to ${maximum}`
}

function invalid(what: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', what, { hop: 'client' })
}
