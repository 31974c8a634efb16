import { ERROR_HEADER } from '../../protocol/codec/errors.ts'
import { hasHeader } from '../../protocol/codec/headers.ts'
import type { HttpResponseHead } from '../../protocol/codec/heads.ts'
import type { Asked } from './asked.ts'
import { ownCookie } from './cookies.ts'
import { PSEUDONYM } from './request-headers.ts'

/** What one service must not say for an origin that is the proxy's, or for where that is. */
const OF_THE_ORIGIN: ReadonlySet<string> = new Set(['strict-transport-security', 'clear-site-data'])
/** RFC 9110, section 5.5: characters that no value has may be replaced. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are meant.
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/g

/** The head that a caller gets, its fields by turns name and value, as Node takes them. */
export function responseFields({ headers }: HttpResponseHead, form: Asked['form']): string[] {
  const fields: string[] = []
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (lower === ERROR_HEADER || lower === 'alt-svc') continue
    if (form === 'path' && OF_THE_ORIGIN.has(lower)) continue
    let told = value.replaceAll(CONTROL, ' ')
    if (form === 'host' && lower === 'set-cookie') {
      const own = ownCookie(told)
      if (own === undefined) continue
      told = own
    }
    fields.push(name, told)
  }
  if (!hasHeader(headers, 'connection')) fields.push('Via', `1.1 ${PSEUDONYM}`)
  return fields
}
