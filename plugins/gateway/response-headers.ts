import { ERROR_HEADER } from '../../protocol/codec/errors.ts'
import { hasHeader } from '../../protocol/codec/headers.ts'
import type { HttpResponseHead } from '../../protocol/codec/heads.ts'
import type { Asked } from './asked.ts'
import { ownCookie, prefixedCookie } from './cookies.ts'
import { PSEUDONYM } from './request-headers.ts'

/** What one service must not say for an origin that is the proxy's, or for where that is. */
const OF_THE_ORIGIN: ReadonlySet<string> = new Set(['strict-transport-security', 'clear-site-data'])
/** RFC 9110, section 5.5: characters that no value has may be replaced. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are meant.
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/g

/** The head that a caller gets, its fields by turns name and value, as Node takes them. */
export function responseFields({ headers }: HttpResponseHead, asked: Asked): string[] {
  const { form } = asked
  const fields: string[] = []
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (lower === ERROR_HEADER || lower === 'alt-svc') continue
    if (form === 'path' && OF_THE_ORIGIN.has(lower)) continue
    const told = value.replaceAll(CONTROL, ' ')
    const kept = ofService(lower, told, asked)
    if (kept !== undefined) fields.push(name, kept)
  }
  if (!hasHeader(headers, 'connection')) fields.push('Via', `1.1 ${PSEUDONYM}`)
  return fields
}

/** A field as far as one service may say it; undefined where it may not. */
function ofService(name: string, value: string, { form, prefix, path }: Asked): string | undefined {
  if (name === 'set-cookie') return form === 'host' ? ownCookie(value) : prefixedCookie(value, prefix, path)
  return name === 'clear-site-data' ? withoutCookies(value) : value
}

/** The cookies that a browser would clear are those of the whole domain: of the gateway, and of all services. */
function withoutCookies(directives: string): string | undefined {
  const kept = directives
    .split(',')
    .map((directive) => directive.trim())
    .flatMap((directive) =>
      directive === '"*"' ? ['"cache"', '"storage"', '"executionContexts"'] : [directive],
    )
    .filter((directive) => directive !== '' && !directive.startsWith('"cookies'))
  return kept.length === 0 ? undefined : kept.join(', ')
}
