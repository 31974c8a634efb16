/** The name of a field (RFC 9110, section 5.1). */
export const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** The value of a field (RFC 9110, section 5.5), and a reason phrase (RFC 9112, section 4). */
export const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** Methods whose request says its length, also where that is 0 (RFC 9110, section 8.6). */
export const METHODS_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])

const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

/** Whether a repetition does no harm (RFC 9110, section 9.2.2). */
export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method)
}
