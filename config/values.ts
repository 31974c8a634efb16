import { isTree, type SchemaNode } from './nodes.ts'

/** Whether `value` is what `node` allows. Knows the keywords that our options use; a test compares it with TypeBox. */
export function isAllowed(node: SchemaNode, value: unknown): boolean {
  if (node.anyOf !== undefined) return node.anyOf.some((branch) => isAllowed(branch, value))
  if ('const' in node) return value === node.const
  if (node.type === undefined) return true
  switch (node.type) {
    case 'boolean':
      return typeof value === 'boolean'
    case 'integer':
      return Number.isInteger(value) && inRange(value as number, node.minimum, node.maximum)
    case 'number':
      return Number.isFinite(value) && inRange(value as number, node.minimum, node.maximum)
    case 'string':
      return (
        typeof value === 'string' &&
        inRange(value.length, node.minLength, node.maxLength) &&
        (node.pattern === undefined || new RegExp(node.pattern).test(value))
      )
    case 'array':
      return (
        Array.isArray(value) &&
        inRange(value.length, node.minItems, node.maxItems) &&
        value.every((item) => node.items === undefined || isAllowed(node.items, item))
      )
    case 'object':
      return isTree(value) && isAllowedObject(node, value)
    default:
      throw new TypeError(`config/values.ts does not know schemas of type ${node.type}`)
  }
}

function isAllowedObject(node: SchemaNode, value: Record<string, unknown>): boolean {
  const { properties = {}, patternProperties = {}, required = [] } = node
  if (!required.every((name) => Object.hasOwn(value, name))) return false
  return Object.entries(value).every(([name, inner]) => {
    if (Object.hasOwn(properties, name)) return isAllowed(properties[name]!, inner)
    const record = Object.entries(patternProperties).find(([pattern]) => new RegExp(pattern).test(name))
    return record !== undefined && isAllowed(record[1], inner)
  })
}

function inRange(value: number, least = -Infinity, most = Infinity): boolean {
  return value >= least && value <= most
}

/** One value that is wrong, inside a list or an object or alone. */
interface Mistake {
  /** As `policy.rules[2].kinds[0]`. */
  path: string
  value: unknown
  reason: string
}

/** What is wrong with a value that `node` does not allow, as deep inside as it can be told. */
export function* mistakesIn(node: SchemaNode, value: unknown, path: string): Generator<Mistake> {
  if (isAllowed(node, value)) return
  const { items, properties, required = [] } = node
  if (Array.isArray(value) && items && inRange(value.length, node.minItems, node.maxItems)) {
    for (const [index, item] of value.entries()) yield* mistakesIn(items, item, `${path}[${index}]`)
  } else if (isTree(value) && properties !== undefined) {
    for (const name of required.filter((each) => !Object.hasOwn(value, each)))
      yield { path, value, reason: `lacks ${name}: ${allowedText(properties[name]!)}` }
    for (const [name, inner] of Object.entries(value)) {
      if (Object.hasOwn(properties, name)) yield* mistakesIn(properties[name]!, inner, `${path}.${name}`)
      else
        yield { path, value, reason: `has ${name}, which is none of ${Object.keys(properties).join(', ')}` }
    }
  } else yield { path, value, reason: `must be ${allowedText(node)}` }
}

/** What `node` allows, in words that follow "must be". */
export function allowedText(node: SchemaNode): string {
  if (node.anyOf !== undefined) {
    const words = node.anyOf.map(allowedText)
    return node.anyOf.every((branch) => 'const' in branch)
      ? `one of ${words.join(', ')}`
      : words.join(', or ')
  }
  if ('const' in node) return JSON.stringify(node.const)
  if (node.type === undefined) return 'anything'
  switch (node.type) {
    case 'boolean':
      return 'true or false'
    case 'integer':
      return `a whole number${rangeText(node.minimum, node.maximum)}`
    case 'number':
      return `a number${rangeText(node.minimum, node.maximum)}`
    case 'string':
      if (node.pattern !== undefined) return `text that matches ${node.pattern}`
      return node.minLength || node.maxLength
        ? `text${rangeText(node.minLength, node.maxLength)} characters`
        : 'text'
    case 'array':
      return `a list${rangeText(node.minItems, node.maxItems)} of: ${node.items ? allowedText(node.items) : 'anything'}`
    default: {
      const names = Object.keys(node.properties ?? {})
      return names.length === 0 ? 'an object' : `an object of ${names.join(', ')}`
    }
  }
}

function rangeText(least?: number, most?: number): string {
  if (least !== undefined && most !== undefined) return ` from ${least} to ${most}`
  if (least !== undefined) return ` of at least ${least}`
  return most === undefined ? '' : ` of at most ${most}`
}

/** Text that stands for no value of the schema's type. */
export const NOT_PARSED: unique symbol = Symbol('not parsed')

const NUMBER = /^-?\d+(_\d{3})*(\.\d+)?$/

/** The value that `text` of a variable or a flag stands for; never a guess. */
export function parseText(node: SchemaNode, text: string): unknown {
  if (node.anyOf !== undefined) {
    const values = node.anyOf.map((branch) => [branch, parseText(branch, text)] as const)
    const match = values.find(([branch, value]) => value !== NOT_PARSED && isAllowed(branch, value))
    return match === undefined ? NOT_PARSED : match[1]
  }
  if ('const' in node) return text === String(node.const) ? node.const : NOT_PARSED
  switch (node.type) {
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : NOT_PARSED
    case 'integer':
    case 'number':
      return NUMBER.test(text) ? Number(text.replaceAll('_', '')) : NOT_PARSED
    case 'string':
      return text
    case 'array':
      return parseList(node, text)
    default:
      return parseJson(text)
  }
}

/** A JSON array, or plain items with commas between them. */
function parseList(node: SchemaNode, text: string): unknown {
  if (text.trimStart().startsWith('[')) return parseJson(text)
  if (text.trim() === '') return []
  const items = text.split(',').map((item) => (node.items ? parseText(node.items, item.trim()) : item.trim()))
  return items.includes(NOT_PARSED) ? NOT_PARSED : items
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return NOT_PARSED
  }
}
