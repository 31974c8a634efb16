import { tokenInvalid, tokenMissing } from './errors.ts'

/** Three base64url parts; far above the size of any token of ours, far below what costs to look at. */
const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/
const MAX_TOKEN_LENGTH = 8_192

/** The token of an Authorization header. A token in a query string is none: it would end in access logs. */
export function bearerOf(authorization: string | undefined): string {
  if (authorization === undefined || authorization.trim() === '') throw tokenMissing()
  const [scheme, token, ...rest] = authorization.trim().split(/ +/)
  if (scheme?.toLowerCase() !== 'bearer' || token === undefined) throw tokenMissing()
  if (rest.length > 0) throw tokenInvalid('it has spaces in it')
  checkShape(token)
  return token
}

/** Refuses what cannot be a token before anything is decoded. */
export function checkShape(token: string): void {
  if (token.length > MAX_TOKEN_LENGTH) throw tokenInvalid(`it is longer than ${MAX_TOKEN_LENGTH} characters`)
  if (!TOKEN.test(token)) throw tokenInvalid('it does not have the three parts of a JWT')
}
