import { endToEnd } from '../../../protocol/codec/headers.ts'
import type { HeaderList } from '../../../protocol/codec/heads.ts'

/**
 * A request's headers as they are sent on, `more` in the place of those of the same name; an empty one is left out.
 * `Expect` goes: whoever sends it says so anew.
 */
export function requestHeaders(
  headers: HeaderList,
  more: Record<string, string>,
  takesTrailers = false,
): HeaderList {
  const added = Object.entries(more)
  const replaced = new Set(added.map(([name]) => name.toLowerCase()))
  const kept = endToEnd(headers, takesTrailers).filter(([name]) => {
    const lower = name.toLowerCase()
    return lower !== 'expect' && !replaced.has(lower)
  })
  return added.length === 0 ? kept : [...kept, ...added.filter(([, value]) => value !== '')]
}
