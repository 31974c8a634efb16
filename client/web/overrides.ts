import type { ClientOverrides } from '../options.ts'
import { configInvalid } from '../queue/errors.ts'
import type { Sections } from './settings.ts'

/** What a setting may be, as the schema in `options.ts` has it. */
interface Rule {
  type?: 'integer' | 'number' | 'boolean' | 'string'
  minimum?: number
  maximum?: number
  choices?: readonly unknown[]
}

/** Sections that say how a program reaches its proxy. */
const BROWSERS_OWN = ['network', 'tls']

/** JSON, written into the bundle by the build. */
declare const BUILT_RULES: string
/** The same: what each profile makes of the defaults. */
declare const BUILT_PROFILES: string

/** Puts a profile into `settings`, and `overrides` on top. @throws {TunnelError} CONFIG_INVALID with every mistake there is */
export function override(
  settings: Sections<unknown>,
  profile: string,
  overrides: ClientOverrides | undefined,
): void {
  const profiles = JSON.parse(BUILT_PROFILES) as Record<string, Sections<unknown>>
  if (!Object.hasOwn(profiles, profile))
    throw configInvalid(`profile = ${JSON.stringify(profile)}: is not a known profile`)
  for (const [section, values] of Object.entries(profiles[profile] ?? {}))
    Object.assign(settings[section] ?? {}, values)
  const wrong = mistakesIn(settings, overrides ?? {})
  if (wrong.length > 0) throw configInvalid(`in the client's settings: ${wrong.join('; ')}`)
}

/** Those in `overrides`; the rest of it is put into `settings`. */
function mistakesIn(settings: Sections<unknown>, overrides: ClientOverrides): string[] {
  const rules = JSON.parse(BUILT_RULES) as Sections<Rule>
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
  return wrong
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
