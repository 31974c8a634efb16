import { nearest } from '../protocol/nearest.ts'
import type { Problem } from './errors.ts'
import { type Assignment, split } from './layers.ts'
import {
  isGroup,
  isSecret,
  isTree,
  MASK,
  nodeAt,
  type SchemaNode,
  settingsOf,
  shown,
  type Tree,
} from './nodes.ts'
import { allowedText, isAllowed, mistakesIn, NOT_PARSED, parseText } from './values.ts'

export interface Resolved {
  tree: Tree
  /** Where each setting that is not at its default came from, by its path. */
  sources: Map<string, string>
  problems: Problem[]
}

/** Names by which a setting was planned or published, and what it is called. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ['auth.jwksUrl', 'auth.jwks.url'],
  ['auth.accessTtl', 'auth.accessTtlMs'],
  ['auth.refreshTtl', 'auth.refreshTtlMs'],
])

/**
 * Lays the assignments over the defaults, the later over the earlier. Every one is checked, one that a later overrides
 * as well: a mistake in a file must not wait for the day on which a flag is left out.
 */
export function resolve(root: SchemaNode, assignments: readonly Assignment[]): Resolved {
  const resolved: Resolved = { tree: {}, sources: new Map(), problems: [] }
  const given: Tree = {}
  for (const assignment of assignments) assign(root, assignment, given, resolved)
  resolved.tree = complete(root, given, [], resolved.problems)
  return resolved
}

function assign(root: SchemaNode, assignment: Assignment, given: Tree, resolved: Resolved): void {
  const { path, source } = assignment
  const name = path.join('.')
  const node = nodeAt(root, path)
  if (node === undefined) {
    resolved.problems.push(unknownSetting(root, assignment))
    return
  }
  const value = assignment.isText ? parseText(node, assignment.value as string) : assignment.value
  if (isGroup(node) && isTree(value)) {
    if (Object.keys(value).length === 0) containerAt(given, path)
    // Only text reaches this with something inside: a JSON layer was split before.
    else for (const part of split(node, value, path, source)) assign(root, part, given, resolved)
  } else if (value === NOT_PARSED) {
    const reason = `must be ${allowedText(node)}`
    const text = shown(name, assignment.value, node)
    resolved.problems.push({ kind: 'value', path: name, value: text, source, reason })
  } else if (!isAllowed(node, value)) {
    for (const { path: at, value: wrong, reason } of mistakesIn(node, value, name)) {
      const text = shown(name, at === name ? assignment.value : wrong, node)
      resolved.problems.push({ kind: 'value', path: at, value: text, source, reason })
    }
  } else {
    containerAt(given, path.slice(0, -1))[path.at(-1)!] = value
    resolved.sources.set(name, source)
  }
}

function containerAt(given: Tree, path: readonly string[]): Tree {
  let at = given
  for (const name of path) {
    if (!isTree(at[name])) at[name] = {}
    at = at[name] as Tree
  }
  return at
}

function unknownSetting(root: SchemaNode, { path, value, source }: Assignment): Problem {
  const name = path.join('.')
  const known = OTHER_NAMES.get(name)
  if (known !== undefined) {
    const reason = `there is no such setting; it is called ${known}`
    return { kind: 'unknown', path: name, value: shown(name, value), source, reason }
  }
  const misnamed = misnamedEntry(root, path)
  if (misnamed !== undefined) {
    return { kind: 'unknown', path: name, value: shown(name, value), source, reason: misnamed }
  }
  const names = [...settingsOf(root)].map(([known]) => known.join('.'))
  const sections = Object.keys(root.properties ?? {})
  const meant = nearest(name, path.length === 1 ? sections : names)
  const text = isSecret(name) || (meant !== undefined && isSecret(meant)) ? MASK : shown(name, value)
  const reason = `there is no such setting${meant === undefined ? '' : `; did you mean ${meant}?`}`
  return { kind: 'unknown', path: name, value: text, source, reason }
}

/** Whether `path` fails at the name of a record's entry, which no list of settings can suggest. */
function misnamedEntry(root: SchemaNode, path: readonly string[]): string | undefined {
  const at = path.findIndex((_, end) => nodeAt(root, path.slice(0, end + 1)) === undefined)
  const patterns = Object.keys(nodeAt(root, path.slice(0, at))?.patternProperties ?? {})
  return patterns.length === 0
    ? undefined
    : `"${path[at]}" is not a valid name; names match ${patterns.join(' or ')}`
}

/** The given values with every default beside them. */
function complete(node: SchemaNode, given: Tree, path: string[], problems: Problem[]): Tree {
  const tree: Tree = {}
  for (const name of new Set([...Object.keys(node.properties ?? {}), ...Object.keys(given)])) {
    const child = nodeAt(node, [name])!
    const value = given[name]
    const isNeeded = node.required?.includes(name) ?? false
    if (isGroup(child)) {
      if (value !== undefined || isNeeded)
        tree[name] = complete(child, (value ?? {}) as Tree, [...path, name], problems)
    } else if (value !== undefined) tree[name] = value
    else if ('default' in child) tree[name] = structuredClone(child.default)
    else if (isNeeded) {
      const missing = [...path, name].join('.')
      const reason = `must be given: ${allowedText(child)}`
      // A wrong value was told already.
      if (problems.some((problem) => problem.path === missing)) continue
      problems.push({ kind: 'missing', path: missing, source: 'not given', reason })
    }
  }
  return tree
}
