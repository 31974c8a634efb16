import { createHash, randomBytes } from 'node:crypto'

/** Crockford's base 32: no letter that is read or typed as a digit. */
const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
/** 16 digits, 80 bits. */
const BYTES = 10
const GROUP = /.{4}(?=.)/g

/** A new code, in groups of four, as a person types it. */
export function newCode(): string {
  let bits = BigInt(`0x${randomBytes(BYTES).toString('hex')}`)
  let digits = ''
  for (let count = (BYTES * 8) / 5; count > 0; count--) {
    digits = DIGITS[Number(bits & 31n)] + digits
    bits >>= 5n
  }
  return digits.replaceAll(GROUP, '$&-')
}

/** What is kept of a code; undefined for what cannot be one. Lower case, blanks and look-alikes are taken. */
export function hashOfCode(typed: string): string | undefined {
  const plain = typed.toUpperCase().replaceAll(/[\s-]/g, '').replaceAll('O', '0').replaceAll(/[IL]/g, '1')
  const isCode = plain.length === (BYTES * 8) / 5 && [...plain].every((digit) => DIGITS.includes(digit))
  return isCode ? createHash('sha256').update(plain).digest('hex') : undefined
}
