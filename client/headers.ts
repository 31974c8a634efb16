import { TunnelError } from '../protocol/codec/errors.ts'
import { hasHeader } from '../protocol/codec/headers.ts'
import type { HeaderList } from '../protocol/codec/heads.ts'
import { FIELD_NAME, FIELD_VALUE, isIdempotent, METHODS_WITH_BODY } from '../protocol/codec/http-rules.ts'

/** Headers as programs write them. */
export type HeadersLike = Headers | HeaderList | Record<string, string | readonly string[] | undefined>

function checked(name: string, value: string): [string, string] {
  if (!FIELD_NAME.test(name))
    throw new TunnelError('CONFIG_INVALID', `header ${JSON.stringify(name)}: is not a valid name`, {
      hop: 'client',
    })
  if (!FIELD_VALUE.test(value)) {
    throw new TunnelError('CONFIG_INVALID', `header ${name}: its value has characters that are not allowed`, {
      hop: 'client',
    })
  }
  return [name, value]
}

/** In their order, a name as often as it was given. @throws {TunnelError} CONFIG_INVALID */
export function headerList(headers: HeadersLike | undefined): HeaderList {
  if (headers === undefined) return []
  const pairs: HeaderList = []
  const entries = Array.isArray(headers) || headers instanceof Headers ? headers : Object.entries(headers)
  for (const [name, value] of entries as Iterable<[string, string | readonly string[] | undefined]>) {
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? value : [value]) pairs.push(checked(name, String(one)))
  }
  return pairs
}

/** Adds the length of a body that is in memory, as every HTTP client does (RFC 9110, section 8.6). */
export function withContentLength(
  headers: HeaderList,
  method: string,
  byteCount: number | undefined,
): HeaderList {
  if (
    byteCount === undefined ||
    hasHeader(headers, 'content-length') ||
    hasHeader(headers, 'transfer-encoding')
  )
    return headers
  if (byteCount === 0 && !METHODS_WITH_BODY.has(method)) return headers
  return [...headers, ['content-length', String(byteCount)]]
}

const IDEMPOTENCY_KEY = 'idempotency-key'

/**
 * Adds the key by which a service tells a repetition from a second request, which stays the same over all tries
 * (draft-ietf-httpapi-idempotency-key-header, section 2: a string of a structured field). A request has one when a key
 * is given, or when its method is not idempotent and the caller says that it may be sent again.
 */
export function withIdempotencyKey(
  headers: HeaderList,
  method: string,
  idempotent: boolean | undefined,
  given?: string,
  id: string = crypto.randomUUID(),
): HeaderList {
  const isWanted = given !== undefined || (idempotent === true && !isIdempotent(method))
  if (!isWanted || hasHeader(headers, IDEMPOTENCY_KEY)) return headers
  const quoted = (given ?? id).replace(/["\\]/g, '\\$&')
  return [...headers, checked('Idempotency-Key', `"${quoted}"`)]
}
