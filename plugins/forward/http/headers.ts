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
 * A request's headers as they are sent on, `more` in the place of those of the same name. `Expect` goes: the body is
 * taken in any case, so there is nothing to wait for.
 */
export function requestHeaders(headers: HeaderList, more: Record<string, string>): HeaderList {
  const added = Object.entries(more)
  const replaced = new Set(added.map(([name]) => name.toLowerCase()))
  const kept = endToEnd(headers).filter(([name]) => {
    const lower = name.toLowerCase()
    return lower !== 'expect' && !replaced.has(lower)
  })
  return added.length === 0 ? kept : [...kept, ...added]
}
