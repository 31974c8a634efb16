import { TunnelError } from '../../protocol/codec/errors.ts'
import { MAX_JSON_DEPTH, MAX_JSON_VALUES } from '../../protocol/codec/json.ts'

const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_LIST = 0x5b
const OPEN_OBJECT = 0x7b
const CLOSE_LIST = 0x5d
const CLOSE_OBJECT = 0x7d

/**
 * Refuses a body in which an object has the same name twice: parsers take one or the other (RFC 8259, section 4), so that
 * what one part has checked would not be what another reads. Neither is it deeper or fuller than a frame's JSON may be.
 * It looks at each character once, whatever is there: what is not JSON at all is for the parser to say.
 * @throws {TunnelError} REQUEST_INVALID
 */
export function checkBody(json: string): void {
  /** The names so far of each object that is open; of a list there are none. */
  const open: (Set<string> | undefined)[] = []
  let values = 1
  let isName = false
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at)
    if (code === QUOTE) {
      const end = endOfText(json, at)
      if (isName) addName(open.at(-1), json.slice(at, end + 1))
      isName = false
      at = end
    } else if (code === OPEN_LIST || code === OPEN_OBJECT) {
      if (open.push(code === OPEN_OBJECT ? new Set() : undefined) > MAX_JSON_DEPTH)
        throw tooMuch(`deeper than ${MAX_JSON_DEPTH}`)
      values++
      isName = code === OPEN_OBJECT
    } else if (code === CLOSE_LIST || code === CLOSE_OBJECT) {
      open.pop()
      isName = false
    } else if (code === COMMA) {
      values++
      isName = open.at(-1) !== undefined
    }
    if (values > MAX_JSON_VALUES) throw tooMuch(`of more than ${MAX_JSON_VALUES} values`)
  }
}

/** Where the text ends that begins at `start`: at its other quote, or with everything. */
function endOfText(json: string, start: number): number {
  for (let at = start + 1; at < json.length; at++) {
    const code = json.charCodeAt(at)
    if (code === QUOTE) return at
    if (code === BACKSLASH) at++
  }
  return json.length
}

function addName(names: Set<string> | undefined, text: string): void {
  const name = nameOf(text)
  if (names?.has(name)) throw namedTwice(name)
  names?.add(name)
}

/** However it is spelled: `"\u0061"` is `"a"`. */
function nameOf(text: string): string {
  try {
    return JSON.parse(text) as string
  } catch {
    return text
  }
}

function namedTwice(name: string): TunnelError {
  const shown = JSON.stringify(name.slice(0, 40))
  return new TunnelError('REQUEST_INVALID', `the body has ${shown} twice`, { hop: 'proxy' })
}

function tooMuch(what: string): TunnelError {
  return new TunnelError('REQUEST_INVALID', `the body is JSON ${what}`, { hop: 'proxy' })
}
