import type { ClientOverrides } from '../options.ts'
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

/** Puts `overrides` into `settings`. Returns every mistake in them. */
export function override(settings: Sections<unknown>, overrides: ClientOverrides): string[] {
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
