import type { HeaderList } from './heads.ts'

/** @param name in lower case; the names in `headers` are in any */
export function hasHeader(headers: HeaderList, name: string): boolean {
  return headers.some(([given]) => given.length === name.length && given.toLowerCase() === name)
}

/** RFC 9110, section 7.6.1, and what its predecessors had. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade'],
])

/** Without those that speak of one connection only, the ones that Connection names among them. */
export function endToEnd(headers: HeaderList, takesTrailers = false): HeaderList {
  const named = new Set(valuesOf(headers, 'connection'))
  return headers.filter(([name]) => {
    const lower = name.toLowerCase()
    return (!HOP_BY_HOP.has(lower) || (takesTrailers && lower === 'trailer')) && !named.has(lower)
  })
}

/** The protocol that a request asks its connection to be switched to (RFC 9110, section 7.8). */
export function upgradeOf(headers: HeaderList): string | undefined {
  if (!valuesOf(headers, 'connection').includes('upgrade')) return undefined
  return headers.find(([name]) => name.toLowerCase() === 'upgrade')?.[1]
}

/** The members of a list, over all fields of that name, in lower case. */
export function valuesOf(fields: HeaderList, wanted: string): string[] {
  const values: string[] = []
  for (const [name, value] of fields) {
    if (name.length !== wanted.length || name.toLowerCase() !== wanted) continue
    for (const one of value.split(',')) {
      const trimmed = one.trim().toLowerCase()
      if (trimmed !== '') values.push(trimmed)
    }
  }
  return values
}
