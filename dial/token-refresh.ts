import type { Clock } from '../protocol/clock.ts'
import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { Link } from '../protocol/link/link.ts'
import { askToken, expiryOf, refreshInMs, type TokenProvider } from './token.ts'

/** Not more often than this is a provider asked, in ms: it may give the old token again. */
const LEAST_MS = 1_000
/** The longest wait a timer can have, in ms. */
const MOST_MS = 2 ** 31 - 1

/** Keeps a link's token fresh: before one expires, the provider's next goes over the link (AUTH). */
export class TokenRefresh {
  readonly #provider: TokenProvider
  readonly #clock: Clock
  readonly #failed: (error: TunnelError) => void
  #link: Link | undefined
  #timer: unknown
  /** The expired token that `failed` was told of. */
  #toldOf: string | undefined

  /** @param failed told of a provider that fails, and once of a token that expires without another; it is asked again */
  constructor(provider: TokenProvider, clock: Clock, failed: (error: TunnelError) => void) {
    this.#provider = provider
    this.#clock = clock
    this.#failed = failed
  }

  /** `link` was dialled with `token`. */
  watch(link: Link, token: string): void {
    this.stop()
    this.#link = link
    this.#schedule(link, token)
  }

  stop(): void {
    this.#link = undefined
    this.#clock.clearTimer(this.#timer)
  }

  #schedule(link: Link, token: string): void {
    const dueMs = refreshInMs(token, Date.now())
    if (dueMs === undefined) return
    this.#timer = this.#clock.setTimer(
      () => void this.#refresh(link, token),
      Math.min(MOST_MS, Math.max(LEAST_MS, dueMs)),
    )
  }

  async #refresh(link: Link, token: string): Promise<void> {
    let fresh = token
    try {
      fresh = await askToken(this.#provider)
      if (this.#link === link && fresh !== token) link.sendAuth(fresh)
    } catch (error) {
      if (this.#link === link) this.#failed(asTunnelError(error))
    }
    if (this.#link !== link) return
    const isOver = (expiryOf(fresh) ?? Number.POSITIVE_INFINITY) <= Date.now()
    if (isOver && fresh !== this.#toldOf) {
      this.#toldOf = fresh
      this.#failed(tokenOver())
    }
    // What is given as text is never another.
    if (isOver && typeof this.#provider !== 'function') return
    this.#schedule(link, fresh)
  }
}

function tokenOver(): TunnelError {
  const message = 'the token has expired: until there is another, nothing new is opened'
  return new TunnelError('TOKEN_EXPIRED', message, { hop: 'client' })
}
