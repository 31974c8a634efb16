import { checkShape } from './bearer.ts'
import { userOf } from './claims.ts'
import { tokenInvalid } from './errors.ts'
import type { IssuerKeys } from './issuer-keys.ts'
import type { Schemes } from './schemes.ts'
import type { User } from './tokens.ts'
import type { Verify } from './verifier.ts'

/** The one algorithm of this server's own secret; no key of an issuer's is ever used with it. */
export const OWN_ALGORITHM = 'HS256'

/**
 * Reads tokens: those that this server's secret has signed, those of the issuer where one is configured, and those of
 * schemes that plugins have added.
 */
export class TokenReader {
  readonly #own: Verify
  readonly #issuer: IssuerKeys | undefined
  readonly #schemes: Schemes
  readonly #clockToleranceMs: number

  /** @param own verifies what this server's secret has signed with `OWN_ALGORITHM` */
  constructor(own: Verify, issuer: IssuerKeys | undefined, schemes: Schemes, clockToleranceMs: number) {
    this.#own = own
    this.#issuer = issuer
    this.#schemes = schemes
    this.#clockToleranceMs = clockToleranceMs
  }

  /** @throws {TunnelError} TOKEN_INVALID, TOKEN_EXPIRED; STATE_UNAVAILABLE where the issuer's keys are not known */
  async read(token: string): Promise<User> {
    if (this.#schemes.has(token)) return this.#schemes.read(token)
    checkShape(token)
    const { alg, kid } = headerOf(token)
    const isOwn = this.#issuer === undefined || alg === OWN_ALGORITHM
    const verify = isOwn ? this.#own : await this.#issuer.verifierFor(kid, alg)
    return userOf(token, verify(token), this.#clockToleranceMs, isOwn)
  }
}

function headerOf(token: string): { alg?: unknown; kid?: unknown } {
  try {
    const header: unknown = JSON.parse(Buffer.from(token.split('.', 1)[0] ?? '', 'base64url').toString())
    if (typeof header === 'object' && header !== null) return header
  } catch {
    // Told below.
  }
  throw tokenInvalid('its header is not an object')
}
