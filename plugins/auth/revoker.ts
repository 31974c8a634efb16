import { asTunnelError } from '../../protocol/codec/errors.ts'
import { notYours, tokenUnknown, twoRevocations } from './errors.ts'
import type { Revocations } from './revocations.ts'
import type { Sessions } from './sessions.ts'
import { isSubject } from './subject.ts'
import type { User } from './tokens.ts'

/** What is to end: the caller's own token where neither is given. */
export interface Revocation {
  /** A token or refresh token. */
  token?: string
  /** All tokens that this user has been given so far. */
  sub?: string
}

const ADMIN = 'admin'
const AGENT = 'agent'
/** The last time that a Date can be, in epoch ms. */
const NEVER_MS = 8_640_000_000_000_000

/** Who may end which tokens. */
export class Revoker {
  readonly #revocations: Revocations
  readonly #sessions: Sessions
  readonly #clockToleranceMs: number

  constructor(revocations: Revocations, sessions: Sessions, clockToleranceMs: number) {
    this.#revocations = revocations
    this.#sessions = sessions
    this.#clockToleranceMs = clockToleranceMs
  }

  /**
   * Ends what is named, in the name of `user`, and says what that was. A token that has expired, or was revoked before, is
   * no mistake (RFC 7009, section 2.2). @throws {TunnelError} FORBIDDEN, REQUEST_INVALID
   */
  async revoke(
    user: User,
    { token, sub }: Revocation,
    read: (token: string) => Promise<User>,
  ): Promise<Record<string, string>> {
    if (token !== undefined && sub !== undefined) throw twoRevocations()
    if (sub !== undefined) return this.#revokeUser(user, sub)
    if (token === undefined) return this.#revokeToken(user)
    const session = this.#sessionOf(token)
    if (session !== undefined) {
      this.#checkOwner(user, session.sub)
      await this.#sessions.end(session.session)
      return { sub: session.sub, session: session.session }
    }
    const other = await read(token).catch((error: unknown) => {
      if (asTunnelError(error, 'proxy').code !== 'TOKEN_EXPIRED') throw tokenUnknown()
    })
    if (other === undefined) return {}
    // Whoever guesses at another's password learns nothing here.
    if (other.credential?.isLasting && !this.#mayEnd(user, other.sub)) throw tokenUnknown()
    this.#checkOwner(user, other.sub)
    return this.#revokeToken(other)
  }

  #mayEnd(user: User, sub: string): boolean {
    return sub === user.sub || user.roles.includes(ADMIN)
  }

  #checkOwner(user: User, sub: string): void {
    if (!this.#mayEnd(user, sub)) throw notYours()
  }

  async #revokeUser(user: User, sub: string): Promise<Record<string, string>> {
    if (!isSubject(sub)) throw tokenUnknown()
    this.#checkOwner(user, sub)
    // Whoever has a machine has its agent's token, and must not be able to lock its owner out with it.
    if (user.roles.includes(AGENT)) throw notYours()
    await this.#revocations.revokeUser(sub, this.#clockToleranceMs)
    return { sub }
  }

  async #revokeToken({ sub, credential, expiresAtMs }: User): Promise<Record<string, string>> {
    if (credential === undefined) throw tokenUnknown()
    const { id, session, isLasting = false } = credential
    // Its refresh token would only give the next one.
    if (session !== undefined) await this.#sessions.end(session)
    else await this.#revocations.revokeToken(id, isLasting ? NEVER_MS : expiresAtMs)
    return { sub, ...(session === undefined ? { token: id } : { session }) }
  }

  #sessionOf(token: string): ReturnType<Sessions['read']> | undefined {
    try {
      return this.#sessions.read(token)
    } catch {
      return undefined
    }
  }
}
