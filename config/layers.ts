import { readFileSync } from 'node:fs'
import { mistrust } from '../protocol/node/trust.ts'
import type { Problem } from './errors.ts'
import { readJson } from './json-lines.ts'
import { childOf, isGroup, isSecret, isTree, MASK, nodeAt, type SchemaNode, settingsOf } from './nodes.ts'
import { isProfile, readProfile, unknownProfile } from './profiles.ts'
import { FILE_VARIABLES, OTHER_VARIABLES, SHORT_VARIABLES, variableOf } from './variables.ts'

/** One value given for one setting by one source; text is parsed by the setting's schema later. */
export interface Assignment {
  path: string[]
  value: unknown
  isText: boolean
  source: string
}

/** What a source gave, and what was wrong with the source itself. */
export interface Layer {
  assignments: Assignment[]
  problems: Problem[]
}

/** `server.port=3001`, or the same from a flag of its own name such as `--port`. */
export type Flag = string | { name: string; path: string; value: string }

export type Environment = Readonly<Record<string, string | undefined>>

export function profileLayer(name: string, root: SchemaNode): Layer {
  if (isProfile(name)) return jsonLayer(readProfile(name), `profile ${name}`, root)
  return { assignments: [], problems: [unknownProfile(name)] }
}

export function fileLayer(file: string, root: SchemaNode): Layer {
  const source = `file ${file}`
  try {
    return jsonLayer(readFileSync(file, 'utf8'), source, root)
  } catch (error) {
    const reason = `it cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`
    return { assignments: [], problems: [{ kind: 'source', path: '', source, reason }] }
  }
}

function jsonLayer(text: string, source: string, root: SchemaNode): Layer {
  const wrong = (reason: string): Layer => ({
    assignments: [],
    problems: [{ kind: 'source', path: '', source, reason }],
  })
  let tree: unknown
  try {
    tree = readJson(text).value
  } catch (error) {
    return wrong((error as Error).message)
  }
  if (!isTree(tree)) return wrong('it must be a JSON object of sections')
  return { assignments: [...split(root, tree, [], source)], problems: [] }
}

/** A tree of values as single settings; what the schema does not know stays whole. */
export function* split(
  node: SchemaNode | undefined,
  value: unknown,
  path: string[],
  source: string,
): Generator<Assignment> {
  const isSplit = node !== undefined && isGroup(node) && isTree(value)
  if (!isSplit || (Object.keys(value).length === 0 && path.length > 0)) {
    yield { path, value, isText: false, source }
    return
  }
  for (const [name, inner] of Object.entries(value)) {
    yield* split(childOf(node, name), inner, [...path, name], source)
  }
}

export function flagLayer(flags: readonly Flag[]): Layer {
  const layer: Layer = { assignments: [], problems: [] }
  for (const flag of flags) {
    if (typeof flag !== 'string') {
      const { name, path, value } = flag
      layer.assignments.push({ path: path.split('.'), value, isText: true, source: `flag ${name}` })
      continue
    }
    const at = flag.indexOf('=')
    if (at > 0) {
      const path = flag.slice(0, at).trim().split('.')
      layer.assignments.push({ path, value: flag.slice(at + 1), isText: true, source: 'flag --set' })
    } else {
      // No more than its name: the rest may be a secret.
      const name = JSON.stringify(flag.split(/[\s=:]/, 1)[0])
      const reason = `${name} is not of the form section.name=value`
      layer.problems.push({ kind: 'source', path: '', source: 'flag --set', reason })
    }
  }
  return layer
}

export interface EnvironmentLayer extends Layer {
  /** Variables that look like ours and are no setting of this schema. */
  unknown: string[]
}

export function environmentLayer(env: Environment, root: SchemaNode): EnvironmentLayer {
  const paths = new Map<string, string[]>()
  for (const [path] of settingsOf(root)) paths.set(variableOf(path), path)
  const layer: EnvironmentLayer = { assignments: [], problems: [], unknown: [] }
  for (const [variable, text] of Object.entries(env)) {
    if (text === undefined || !variable.startsWith('TUNNEL_') || OTHER_VARIABLES.has(variable)) continue
    const source = `environment ${variable}`
    const short = SHORT_VARIABLES.get(variable)
    const file = FILE_VARIABLES.get(variable)
    const path = short?.split('.') ?? file?.split('.') ?? paths.get(variable)
    if (path === undefined) layer.unknown.push(variable)
    else if (file === undefined) {
      const value = isSecret(path.join('.'), nodeAt(root, path)) ? secretOf(text) : text
      layer.assignments.push({ path, value, isText: true, source })
    } else readSecretFile(layer, path, text, source)
  }
  for (const { path, first, second } of twice(layer.assignments)) {
    const reason = `it is given by ${second.replace('environment ', '')} as well; give one of them`
    layer.problems.push({ kind: 'source', path, value: MASK, source: first, reason })
  }
  return layer
}

function readSecretFile(layer: EnvironmentLayer, path: string[], file: string, source: string): void {
  try {
    const reason = mistrust(file)
    if (reason !== undefined) {
      layer.problems.push({
        kind: 'source',
        path: path.join('.'),
        source,
        reason: `the file ${file} ${reason}`,
      })
      return
    }
    layer.assignments.push({ path, value: secretOf(readFileSync(file, 'utf8')), isText: true, source })
  } catch (error) {
    const reason = `the file ${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`
    layer.problems.push({ kind: 'source', path: path.join('.'), source, reason })
  }
}

/** Without the white space at its end, which editors, `echo` and copies leave: the same secret, however it is given. */
function secretOf(text: string): string {
  return text.trimEnd()
}

function* twice(assignments: Assignment[]): Generator<{ path: string; first: string; second: string }> {
  const seen = new Map<string, string>()
  for (const { path, source } of assignments) {
    const key = path.join('.')
    const first = seen.get(key)
    if (first !== undefined) yield { path: key, first, second: source }
    seen.set(key, source)
  }
}
