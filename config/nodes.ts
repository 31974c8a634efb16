/** What this folder reads of a JSON schema; TypeBox makes them, and nothing here needs TypeBox at run time. */
export interface SchemaNode {
  type?: string
  const?: unknown
  anyOf?: SchemaNode[]
  properties?: Record<string, SchemaNode>
  /** A record: any name that matches the one pattern. */
  patternProperties?: Record<string, SchemaNode>
  required?: string[]
  items?: SchemaNode
  default?: unknown
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  minItems?: number
  maxItems?: number
  pattern?: string
  description?: string
  /** Ours: the value is never shown. */
  secret?: boolean
}

export type Tree = { [name: string]: unknown }

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A group of settings, as opposed to one setting. */
export function isGroup(node: SchemaNode): boolean {
  return node.properties !== undefined || node.patternProperties !== undefined
}

export function childOf(node: SchemaNode, name: string): SchemaNode | undefined {
  if (node.properties !== undefined && Object.hasOwn(node.properties, name)) return node.properties[name]
  for (const [pattern, child] of Object.entries(node.patternProperties ?? {})) {
    // A name that would reach an object's prototype is not taken as a name.
    if (name !== '__proto__' && new RegExp(pattern).test(name)) return child
  }
  return undefined
}

export function nodeAt(root: SchemaNode, path: readonly string[]): SchemaNode | undefined {
  let node: SchemaNode | undefined = root
  for (const name of path) node = node && childOf(node, name)
  return node
}

/** Every single setting with a fixed name; a record counts as one setting. */
export function* settingsOf(
  node: SchemaNode,
  path: string[] = [],
): Generator<[path: string[], node: SchemaNode]> {
  if (node.properties === undefined) yield [path, node]
  else for (const [name, child] of Object.entries(node.properties)) yield* settingsOf(child, [...path, name])
}

const LOOKS_SECRET = /secr|token|pass|credential|private|key|jwt/i

/** Whether the value at `path` must never be shown: its schema says so, and of a name without one (a mistyped one) the name. */
export function isSecret(path: string, node?: SchemaNode): boolean {
  return node === undefined ? LOOKS_SECRET.test(path) : node.secret === true
}

/** Whether the value at `path` is, or holds, one that must never be shown. */
export function hasSecret(path: string, node?: SchemaNode): boolean {
  if (isSecret(path, node)) return true
  return Object.entries(node?.properties ?? {}).some(([name, inner]) => hasSecret(`${path}.${name}`, inner))
}

export const MASK = '[masked]'

/** A value as a person may see it. */
export function shown(path: string, value: unknown, node?: SchemaNode): string {
  // A group that is given as one text may have one anywhere in it.
  if (isSecret(path, node) || (typeof value === 'string' && hasSecret(path, node))) return MASK
  const text =
    JSON.stringify(value, (name, inner: unknown) => (LOOKS_SECRET.test(name) ? MASK : inner)) ?? String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}
