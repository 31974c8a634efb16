import { type Clock, systemClock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { Auth, User } from '../auth/index.ts'
import type { LinkContext } from '../forward/index.ts'
import { otherMachine, otherUser } from './errors.ts'

/** How often a link that says nothing is looked at, in ms: the wall clock, by which tokens expire, may be set. */
const LOOK_MS = 60_000

/**
 * The token that a link stands on, from the door to the end: it was checked before the upgrade, is checked again when
 * the link is admitted, gives way to the fresh one that AUTH brings, and ends the link when it is over.
 */
export class LinkCredential {
  readonly #auth: Pick<Auth, 'verify' | 'check'>
  readonly #context: LinkContext
  readonly #end: (error: TunnelError) => void
  readonly #clock: Clock
  #timer: unknown
  /** The last AUTH: they are judged one after the other. */
  #renewal: Promise<void> = Promise.resolve()
  #isRenewing = false
  #isClosed = false

  /** @param end closes the link; told once at most */
  constructor(
    auth: Pick<Auth, 'verify' | 'check'>,
    context: LinkContext,
    end: (error: TunnelError) => void,
    clock: Clock = systemClock,
  ) {
    this.#auth = auth
    this.#context = context
    this.#end = end
    this.#clock = clock
  }

  /** From now on the link ends with its token. */
  watch(): void {
    this.#clock.clearTimer(this.#timer)
    // The fresh token is on its way through the checks; after them this goes on.
    if (this.#isRenewing) return
    try {
      this.check()
    } catch (error) {
      return this.#end(asTunnelError(error, 'proxy'))
    }
    const leftMs = this.#context.user.expiresAtMs - Date.now()
    this.#timer = this.#clock.setTimer(() => this.watch(), Math.min(LOOK_MS, Math.max(leftMs, 0) + 1))
  }

  /** @throws {TunnelError} TOKEN_EXPIRED, TOKEN_REVOKED */
  check(): void {
    this.#auth.check(this.#context.user)
  }

  /**
   * AUTH: a fresh token for a link that lives longer than its first one.
   * @param ready resolves when the link has been admitted: its machine is known then
   * @throws {TunnelError} what has ended the link
   */
  renew(token: string, ready: Promise<void>): Promise<void> {
    this.#isRenewing = true
    const renewal = Promise.all([this.#renewal, ready]).then(() => this.#replace(token))
    this.#renewal = renewal
    const settled = (): void => {
      if (this.#renewal !== renewal) return
      this.#isRenewing = false
      if (!this.#isClosed) this.watch()
    }
    renewal.then(settled, settled)
    return renewal
  }

  async #replace(token: string): Promise<void> {
    try {
      const user: User = await this.#auth.verify(token)
      // It may have been revoked while it was being looked at.
      this.#auth.check(user)
      const { sub } = this.#context.user
      if (user.sub !== sub) throw otherUser()
      if (this.#context.machine !== undefined) checkMachine(user, this.#context.machine)
      this.#context.user = user
    } catch (thrown) {
      const error = asTunnelError(thrown, 'proxy', 'TOKEN_INVALID')
      this.#end(error)
      throw error
    }
  }

  /** The link has closed. */
  close(): void {
    this.#isClosed = true
    this.#clock.clearTimer(this.#timer)
  }
}

/** @throws {TunnelError} FORBIDDEN for another machine than the one that the token was given out for */
export function checkMachine({ machine }: User, name: string): void {
  if (machine !== undefined && machine !== name) throw otherMachine(machine, name)
}
