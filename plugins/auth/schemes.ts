import { hash } from 'node:crypto'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { inTime } from '../../protocol/in-time.ts'
import { bearerOf } from './claims.ts'
import { schemeFailed, schemeSilent, schemeUnfit, tokenInvalid } from './errors.ts'
import type { Tier, User } from './tokens.ts'

/** Whom credentials of a scheme of a plugin's own speak for. */
export interface SchemeUser {
  sub: string
  /** @default 'free' */
  tier?: Tier
  /** @default [] */
  roles?: readonly string[]
  /** The only machine that its agent may enrol. */
  machine?: string
  /** What these credentials are called, which is no secret: the audit trail names it. @default a hash of them */
  id?: string
  /**
   * When they were given out, in epoch ms: what ends all of a user's ends those that are not younger.
   * @default 0: once all of a user's were ended, these never hold again
   */
  issuedAtMs?: number
  /**
   * How long this answer holds, in epoch ms: then a link ends, its peer dials anew, and the scheme is asked again. So long
   * it takes at most until credentials that were withdrawn let nobody in.
   * @default in an hour
   */
  expiresAtMs?: number
}

/** A way to say who one is, beside tokens (RFC 9110, section 11.1). */
export interface AuthScheme {
  /**
   * What stands before its credentials, in whatever case: `Authorization: ApiKey 4711`. Where there is room for one word
   * alone, as in `TUNNEL_TOKEN`, they are `ApiKey:4711`.
   */
  name: string
  /** What a request without credentials is told in WWW-Authenticate, such as `Basic realm="tunnel"`. @default the name */
  challenge?: string
  /**
   * @param credentials what stood behind the name: nobody has looked at it, but that it is visible ASCII and no longer than
   * 8 KiB
   * @throws {TunnelError} TOKEN_INVALID, TOKEN_EXPIRED or TOKEN_REVOKED, which count against the caller's address;
   * STATE_UNAVAILABLE where nobody can say just now. Any other error is the plugin's: it is logged, and the caller sees INTERNAL
   */
  verify(credentials: string): SchemeUser | Promise<SchemeUser>
}

const NAME = /^[A-Za-z][\w-]{0,31}$/
const CHALLENGE = /^[\x20-\x7e]{1,256}$/
/** May have more than one word, as those of Digest. */
const CREDENTIALS = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/
const ID = /^[\x21-\x7e]{1,128}$/
const MAX_LENGTH = 8_192
/** How long a scheme may take to answer, in ms. */
const VERIFY_MS = 10_000
const HOLDS_MS = 3_600_000
const BUILT_IN = 'Bearer'

/** Those that plugins have added. */
export class Schemes {
  readonly #schemes = new Map<string, AuthScheme>()
  readonly #failed: (name: string, error: unknown) => void
  readonly #clock: Clock

  /** @param failed told of each mistake of a scheme's own */
  constructor(failed: (name: string, error: unknown) => void, clock: Clock = systemClock) {
    this.#failed = failed
    this.#clock = clock
  }

  /** @throws {TunnelError} CONFIG_INVALID */
  add(scheme: AuthScheme): void {
    const { name, challenge, verify } = scheme
    if (typeof name !== 'string' || !NAME.test(name))
      throw schemeUnfit(String(name), 'its name is not 1 to 32 letters, digits, "-" and "_"')
    if (name.toLowerCase() === BUILT_IN.toLowerCase() || this.#schemes.has(name.toLowerCase()))
      throw schemeUnfit(name, 'there is one of this name already')
    if (typeof verify !== 'function') throw schemeUnfit(name, 'its verify is not a function')
    if (challenge !== undefined && (typeof challenge !== 'string' || !CHALLENGE.test(challenge)))
      throw schemeUnfit(name, 'its challenge is not a line of text')
    this.#schemes.set(name.toLowerCase(), scheme)
  }

  /** All that a request may come with (RFC 9110, section 11.6.1), the built-in one first. */
  get challenges(): string {
    return [BUILT_IN, ...[...this.#schemes.values()].map(({ name, challenge = name }) => challenge)].join(
      ', ',
    )
  }

  /** The scheme's credentials in one word; undefined where there is no such scheme. */
  tokenOf(name: string, credentials: string): string | undefined {
    return this.#schemes.has(name.toLowerCase()) ? `${name}:${credentials}` : undefined
  }

  /** Whether a token is for one of these: no JWT has a colon. */
  has(token: string): boolean {
    return this.#schemes.has(parted(token).name)
  }

  /** @throws {TunnelError} whatever refuses the token; TIMEOUT, INTERNAL where the scheme fails */
  async read(token: string): Promise<User> {
    const { name, credentials } = parted(token)
    const scheme = this.#schemes.get(name)
    if (scheme === undefined) throw tokenInvalid('it is of no scheme that is known here')
    if (credentials.length > MAX_LENGTH) throw tokenInvalid(`it is longer than ${MAX_LENGTH} characters`)
    if (!CREDENTIALS.test(credentials)) throw tokenInvalid('it has characters in it that no credentials have')
    const late = () => schemeSilent(scheme.name, VERIFY_MS)
    try {
      const answer = await inTime(() => scheme.verify(credentials), VERIFY_MS, late, this.#clock)
      return userOf(name, credentials, answer)
    } catch (error) {
      if (error instanceof TunnelError) throw error
      this.#failed(scheme.name, error)
      throw schemeFailed(scheme.name, error)
    }
  }
}

function parted(token: string): { name: string; credentials: string } {
  const at = token.indexOf(':')
  return { name: token.slice(0, Math.max(at, 0)).toLowerCase(), credentials: token.slice(at + 1) }
}

/** @throws {TypeError} for an answer that is not valid: the mistake is the scheme's, and not the caller's */
function userOf(name: string, credentials: string, answer: SchemeUser): User {
  if (typeof answer !== 'object' || answer === null) throw new TypeError('it gave no user')
  const { sub, tier, roles, machine, issuedAtMs = 0, expiresAtMs = Date.now() + HOLDS_MS } = answer
  const { id = hash('sha256', credentials, 'base64url') } = answer
  if (typeof id !== 'string' || !ID.test(id)) throw new TypeError('its id is not a word of visible ASCII')
  for (const time of [issuedAtMs, expiresAtMs])
    if (!Number.isFinite(time)) throw new TypeError(`${String(time)} is not a time in ms`)
  const credential = { id: `${name}:${id}`, issuedAtMs, isLasting: true }
  try {
    return { ...bearerOf({ sub, tier, roles, machine }), expiresAtMs, credential }
  } catch (cause) {
    throw new TypeError(`the user that it gave is not valid: ${(cause as Error).message}`, { cause })
  }
}
