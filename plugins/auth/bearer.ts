import { tokenInvalid, tokenMissing } from './errors.ts'
import type { Schemes } from './schemes.ts'

/** Three base64url parts; far above the size of any token of ours, far below what costs to look at. */
const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/
const MAX_TOKEN_LENGTH = 8_192

/**
 * The token of an Authorization header; credentials of a scheme that a plugin has added, in one word. A token in a query
 * string is not accepted: it would end up in access logs.
 */
export function bearerOf(authorization: string | undefined, schemes: Schemes): string {
  const [, scheme = '', token = ''] = /^(\S+) +(\S.*)$/.exec(authorization?.trim() ?? '') ?? []
  if (scheme.toLowerCase() !== 'bearer') {
    const added = schemes.tokenOf(scheme, token)
    if (added === undefined) throw tokenMissing()
    return added
  }
  if (token.includes(' ')) throw tokenInvalid('it has spaces in it')
  if (!schemes.has(token)) checkShape(token)
  return token
}

/** Refuses what cannot be a token before anything is decoded. */
export function checkShape(token: string): void {
  if (token.length > MAX_TOKEN_LENGTH) throw tokenInvalid(`it is longer than ${MAX_TOKEN_LENGTH} characters`)
  if (!TOKEN.test(token)) throw tokenInvalid('it does not have the three parts of a JWT')
}
