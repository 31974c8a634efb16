import { isSecret, type SchemaNode, settingsOf } from './nodes.ts'
import { allowedText } from './values.ts'
import { SHORT_VARIABLES, variableOf } from './variables.ts'

/** One setting, as a person asks about it. */
export interface Setting {
  path: string
  meaning: string
  /** What its number counts; undefined where it is no number, or one without a unit. */
  unit?: string
  /** Absent for a secret, and where there is none. */
  default?: unknown
  /** As the rest of 'must be …'. */
  allowed: string
  /** The variables that set it. */
  variables: string[]
}

const UNITS: readonly [name: RegExp, unit: string][] = [
  [/Ms$/, 'ms'],
  [/Bytes$/, 'bytes'],
  [/PerMinute$|\.perMinute$/, 'a minute'],
  [/\.(jitter|backpressureAt)$/, 'a share, from 0 to 1'],
]

/** Every setting that is called `name`, or that stands in the section of that name. */
export function settingsNamed(root: SchemaNode, name: string): Setting[] {
  return [...settingsOf(root)]
    .map(([path, node]) => [path, node, path.join('.')] as const)
    .filter(([, , path]) => path === name || path.startsWith(`${name}.`))
    .map(([path, node]) => settingOf(path, node))
}

function settingOf(path: string[], node: SchemaNode): Setting {
  const name = path.join('.')
  const unit = UNITS.find(([pattern]) => pattern.test(`.${name}`))?.[1]
  const short = [...SHORT_VARIABLES].filter(([, setting]) => setting === name).map(([variable]) => variable)
  return {
    path: name,
    meaning: node.description ?? '',
    ...(unit !== undefined && { unit }),
    ...('default' in node && !isSecret(name, node) && { default: node.default }),
    allowed: allowedText(node),
    variables: [...short, variableOf(path)],
  }
}
