import type { TObject } from 'typebox'
import { Value } from 'typebox/value'
import { TunnelError } from '../protocol/codec/errors.ts'
import { ClientSettings } from './options.ts'

const SECTIONS: Record<string, TObject> = ClientSettings.properties

type Tree = Record<string, unknown>

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The value at a JSON pointer, as a person may see it. */
function shownAt(tree: unknown, pointer: string): string {
  const value = pointer
    .split('/')
    .slice(1)
    .reduce<unknown>((at, name) => (isTree(at) ? at[name] : undefined), tree)
  return (JSON.stringify(value) ?? 'nothing').slice(0, 80)
}

/** Every mistake in `given` against one section or all, as `path = value (source): reason`. */
function mistakes(schema: TObject, given: unknown, source: string, prefix: string): string[] {
  const found = new Map<string, string>()
  for (const error of Value.Errors(schema, given)) {
    if (error.keyword === 'additionalProperties') continue
    // What is absent has its default; an unknown name appears as a property whose schema is `false`.
    if (error.keyword === 'required') continue
    const path = `${prefix}${error.instancePath.slice(1).replaceAll('/', '.')}`
    const reason = error.keyword === 'boolean' ? 'there is no such setting' : error.message
    if (!found.has(path))
      found.set(path, `${path} = ${shownAt(given, error.instancePath)} (${source}): ${reason}`)
  }
  return [...found.values()]
}

/**
 * Defaults, then the profile's, then `overrides`: the client's sections of each.
 * @param profile the parsed file of the profile; its sections that are no client's are not looked at
 * @throws {TunnelError} CONFIG_INVALID with every mistake there is
 */
export function resolveSettings(
  profile: unknown,
  profileName: string,
  overrides: unknown = {},
): ClientSettings {
  const wrong: string[] = []
  const settings = {} as Record<string, Tree>
  const profileTree = isTree(profile) ? profile : {}
  if (!isTree(profile)) wrong.push(`profile ${profileName}: is not an object`)
  if (isTree(overrides)) {
    for (const name of Object.keys(overrides)) {
      if (!Object.hasOwn(SECTIONS, name)) wrong.push(`${name} (settings): a client has no such section`)
    }
  } else wrong.push('settings: is not an object')

  for (const [name, schema] of Object.entries(SECTIONS)) {
    const section: Tree = {}
    for (const [setting, node] of Object.entries(schema.properties)) {
      section[setting] = (node as { default?: unknown }).default
    }
    for (const [source, layer] of [
      [`profile ${profileName}`, profileTree[name]],
      ['settings', isTree(overrides) ? overrides[name] : undefined],
    ] as const) {
      if (layer === undefined) continue
      if (!isTree(layer)) wrong.push(`${name} = ${JSON.stringify(layer)} (${source}): is not an object`)
      else {
        // Of a profile's section the proxy may know more settings than a client has.
        const counts = ([setting, value]: [string, unknown]) =>
          value !== undefined && (source === 'settings' || Object.hasOwn(schema.properties, setting))
        const given = Object.fromEntries(Object.entries(layer).filter(counts))
        wrong.push(...mistakes(schema, given, source, `${name}.`))
        Object.assign(section, given)
      }
    }
    settings[name] = section
  }
  if (wrong.length > 0) {
    const count = wrong.length === 1 ? 'a mistake' : `${wrong.length} mistakes`
    throw new TunnelError('CONFIG_INVALID', `${count} in the client's settings: ${wrong.join('; ')}`, {
      hop: 'client',
    })
  }
  return settings as unknown as ClientSettings
}
