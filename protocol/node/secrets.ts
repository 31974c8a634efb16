/** Below this a secret can be guessed; also what HS256 asks for (RFC 7518, section 3.2). */
export const MIN_SECRET_BYTES = 32
