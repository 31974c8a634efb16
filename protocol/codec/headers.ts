import type { HeaderList } from './heads.ts'

/** @param name in lower case; `given` is in any */
export function isNamed(given: string, name: string): boolean {
  return given.length === name.length && given.toLowerCase() === name
}

/** @param name in lower case; the names in `headers` are in any */
export function hasHeader(headers: HeaderList, name: string): boolean {
  for (const [given] of headers) if (isNamed(given, name)) return true
  return false
}

/** RFC 9110, section 7.6.1, and what its predecessors had. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade'],
])

/** A list up to this is searched as it is. */
const MOST_SEARCHED = 8

/** Without those that speak of one connection only, the ones that Connection names among them. */
export function endToEnd(headers: HeaderList, takesTrailers = false): HeaderList {
  const values = valuesOf(headers, 'connection')
  // A response may name thousands.
  const named = values.length > MOST_SEARCHED ? new Set(values) : undefined
  return headers.filter(([name]) => {
    const lower = name.toLowerCase()
    if (HOP_BY_HOP.has(lower) && !(takesTrailers && lower === 'trailer')) return false
    return !(named?.has(lower) ?? values.includes(lower))
  })
}

/** The protocol that a request asks its connection to be switched to (RFC 9110, section 7.8). */
export function upgradeOf(headers: HeaderList): string | undefined {
  if (!valuesOf(headers, 'connection').includes('upgrade')) return undefined
  return headers.find(([name]) => name.toLowerCase() === 'upgrade')?.[1]
}

const NONE: readonly string[] = []

/** The members of a list, over all fields of that name, in lower case. */
export function valuesOf(fields: HeaderList, wanted: string): readonly string[] {
  let values: string[] | undefined
  for (const [name, value] of fields) {
    if (!isNamed(name, wanted)) continue
    for (const one of value.split(',')) {
      const trimmed = one.trim().toLowerCase()
      if (trimmed === '') continue
      values ??= []
      values.push(trimmed)
    }
  }
  return values ?? NONE
}
