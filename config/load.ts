import type { Hop } from '../protocol/codec/errors.ts'
import { nearest } from '../protocol/nearest.ts'
import { ConfigError, type Problem } from './errors.ts'
import {
  type Assignment,
  type Environment,
  environmentLayer,
  type Flag,
  fileLayer,
  flagLayer,
  profileLayer,
} from './layers.ts'
import { hasSecret, isSecret, MASK, type SchemaNode, settingsOf, shown, type Tree } from './nodes.ts'
import { type Resolved, resolve } from './resolve.ts'
import { brokenRules } from './rules.ts'
import { FILE_VARIABLES, OTHER_VARIABLES, SHORT_VARIABLES, variableOf } from './variables.ts'

/** Where settings come from, the weakest first: defaults, profile, file, environment, flags. */
export interface Sources {
  /** A profile's name; else TUNNEL_PROFILE, else `default`. */
  profile?: string | undefined
  /** A JSON file. */
  file?: string | undefined
  /** Default `process.env`. */
  env?: Environment | undefined
  flags?: readonly Flag[] | undefined
}

export function profileOf({ profile, env = process.env }: Sources): string {
  return profile ?? (env.TUNNEL_PROFILE || 'default')
}

/** All sources against one schema; what is wrong is collected, not thrown. `beneath` lies under every source. */
export function readSources(root: SchemaNode, from: Sources, beneath: Assignment[] = []): Resolved {
  const { file, env = process.env, flags = [] } = from
  const environment = environmentLayer(env, root)
  const layers = [
    profileLayer(profileOf(from), root),
    ...(file === undefined ? [] : [fileLayer(file, root)]),
    environment,
    flagLayer(flags),
  ]
  const resolved = resolve(root, [...beneath, ...layers.flatMap((layer) => layer.assignments)])
  const strange = environment.unknown.flatMap(
    (variable) => unknownVariable(variable, env[variable], root) ?? [],
  )
  const problems = [...layers.flatMap((layer) => layer.problems), ...strange, ...resolved.problems]
  // With a value missing or wrong its default stands in the tree, and a rule would judge what nobody gave.
  const told = new Set(problems.map((problem) => problem.path))
  const broken = brokenRules(resolved.tree, resolved.sources).filter(({ path }) => !told.has(path))
  return { ...resolved, problems: [...problems, ...broken] }
}

/** What Docker and Kubernetes set on their own for a neighbour that is named `tunnel`. */
const OF_A_NEIGHBOUR = /^TUNNEL_(NAME|ENV_\w+|PORT(_\d+_(TCP|UDP)\w*)?|SERVICE_(HOST|PORT)(_\w+)?)$/

/**
 * A variable that begins as ours do and is no setting: a mistake when it names one of our sections or is one slip
 * away from a setting. Others (cloudflared has TUNNEL_ variables too) are none of our business.
 */
function unknownVariable(variable: string, text: string | undefined, root: SchemaNode): Problem | undefined {
  if (OF_A_NEIGHBOUR.test(variable)) return undefined
  const settings = [...settingsOf(root)].map(([path]) => [variableOf(path), path.join('.')] as const)
  const others = [...OTHER_VARIABLES].map((name) => [name, name] as const)
  const names = new Map([...settings, ...SHORT_VARIABLES, ...FILE_VARIABLES, ...others])
  const inServer = variable.replace('TUNNEL_', 'TUNNEL_SERVER_')
  const meant = names.has(inServer) ? inServer : nearest(variable, names.keys())
  const isOurs = Object.keys(root.properties ?? {}).some((section) =>
    `${variable}_`.startsWith(`${variableOf([section])}_`),
  )
  if (meant === undefined && !isOurs) return undefined
  const path = meant === undefined ? undefined : names.get(meant)
  const holdsSecret = Object.entries(root.properties ?? {}).some(
    ([section, node]) => variable === variableOf([section]) && hasSecret(section, node),
  )
  const isHidden = holdsSecret || isSecret(variable) || (path !== undefined && isSecret(path))
  const reason = `there is no such setting${meant === undefined ? '' : `; did you mean ${meant}?`}`
  const source = 'environment'
  return { kind: 'unknown', path: variable, value: isHidden ? MASK : shown(variable, text), source, reason }
}

/** One effective setting, as it may be shown. */
export interface Explained {
  path: string
  value: unknown
  source: string
}

/** Every effective setting and where it came from; secrets masked. */
export function explainTree(root: SchemaNode, tree: Tree, sources: ReadonlyMap<string, string>): Explained[] {
  const explained: Explained[] = []
  for (const [path, node] of settingsOf(root)) {
    const value = path.reduce<unknown>((at, name) => (at as Tree | undefined)?.[name], tree)
    if (value === undefined) continue
    const name = path.join('.')
    const inner = [...sources].filter(([from]) => from === name || from.startsWith(`${name}.`))
    const source = [...new Set(inner.map(([, origin]) => origin))].join(', ') || 'default'
    explained.push({ path: name, value: isSecret(name, node) ? (value === '' ? '' : MASK) : value, source })
  }
  return explained
}

export function refuse(problems: readonly Problem[], hop: Hop): void {
  if (problems.length > 0) throw new ConfigError(problems, hop)
}
