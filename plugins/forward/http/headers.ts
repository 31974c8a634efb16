import type { HeaderList } from '../../../protocol/codec/heads.ts'

/** RFC 9110, section 7.6.1, and what its predecessors had. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade'],
])

/** Without those that speak of one connection only, the ones that Connection names among them. */
export function endToEnd(headers: HeaderList): HeaderList {
  let named: Set<string> | undefined
  for (const [name, value] of headers) {
    if (name.toLowerCase() !== 'connection') continue
    named ??= new Set()
    for (const option of value.split(',')) named.add(option.trim().toLowerCase())
  }
  return headers.filter(([name]) => {
    const lower = name.toLowerCase()
    return !HOP_BY_HOP.has(lower) && named?.has(lower) !== true
  })
}

/**
 * A request's headers as undici takes them: name, value, name, value. `Expect` goes: the body is taken in any case,
 * so there is nothing to wait for.
 */
export function requestHeaders(headers: HeaderList, more: Record<string, string>): string[] {
  const replaced = new Set(Object.keys(more).map((name) => name.toLowerCase()))
  const flat: string[] = []
  for (const [name, value] of endToEnd(headers)) {
    const lower = name.toLowerCase()
    if (lower !== 'expect' && !replaced.has(lower)) flat.push(name, value)
  }
  for (const [name, value] of Object.entries(more)) flat.push(name, value)
  return flat
}

/** A response's headers, from undici's: name, value, name, value. */
export function responseHeaders(raw: readonly (Buffer | string)[]): HeaderList {
  const headers: HeaderList = []
  for (let index = 0; index + 1 < raw.length; index += 2)
    headers.push([latin1(raw[index]), latin1(raw[index + 1])])
  return endToEnd(headers)
}

/** A header is bytes; each becomes one character, so that none is lost (RFC 9110, section 5.5). */
function latin1(value: Buffer | string | undefined): string {
  return typeof value === 'string' ? value : (value?.toString('latin1') ?? '')
}

export function hasHeader(headers: HeaderList, name: string): boolean {
  return headers.some(([candidate]) => candidate.toLowerCase() === name)
}
