import { TunnelError } from '../../protocol/codec/errors.ts'

/** A text, or what gives a JSON text its form; what stands between is for the parser to judge. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],]/gs

/**
 * Refuses a body in which an object has the same name twice: parsers take one or the other (RFC 8259, section 4), so that
 * what one part has checked would not be what another reads. @throws {TunnelError} REQUEST_INVALID
 */
export function checkNames(json: string): void {
  /** The names so far of each object that is open; of a list there are none. */
  const open: (Set<string> | undefined)[] = []
  let isName = false
  for (const [token] of json.matchAll(TOKEN)) {
    if (token === '{' || token === '[') open.push(token === '{' ? new Set() : undefined)
    else if (token === '}' || token === ']') open.pop()
    else if (token !== ',' && isName) {
      const name = nameOf(token)
      const names = open.at(-1)
      if (names?.has(name)) throw namedTwice(name)
      names?.add(name)
    }
    isName = (token === '{' || token === ',') && open.at(-1) !== undefined
  }
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
