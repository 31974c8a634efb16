import { endToEnd, isNamed } from '../../../protocol/codec/headers.ts'
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
  const kept = endToEnd(headers, takesTrailers).filter(([name]) => !isNamed(name, 'expect'))
  const added = Object.entries(more)
  if (added.length === 0) return kept
  const replaced = new Set(added.map(([name]) => name.toLowerCase()))
  const others = kept.filter(([name]) => !replaced.has(name.toLowerCase()))
  return [...others, ...added.filter(([, value]) => value !== '')]
}
