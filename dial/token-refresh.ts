import type { Clock } from '../protocol/clock.ts'
import { asTunnelError, MAX_TIMER_MS, TunnelError } from '../protocol/codec/errors.ts'
import type { Link } from '../protocol/link/link.ts'
import { askTokenWithin, expiryOf, PATIENCE_MS, refreshInMs, type TokenProvider } from './token.ts'

/** Not more often than this is a provider asked, in ms: it may give the old token again. */
const LEAST_MS = 1_000
/** How often a provider is asked whose token the proxy takes, although it has expired by this computer's clock, in ms. */
const CLOCK_WRONG_MS = 60_000

/** Keeps a link's token fresh: before one expires, the provider's next goes over the link (AUTH). */
export class TokenRefresh {
  readonly #provider: TokenProvider
  readonly #clock: Clock
  readonly #failed: (error: TunnelError) => void
  readonly #now: () => number
  #link: Link | undefined
  #timer: unknown
  /** The proxy has just taken a token that is over by our clock, so that the clock says nothing. */
  #clockIsWrong = false
  /** The expired token that `failed` was told of. */
  #toldOf: string | undefined

  /** @param failed told of a provider that fails, and once of a token that expires without another; it is asked again */
  constructor(
    provider: TokenProvider,
    clock: Clock,
    failed: (error: TunnelError) => void,
    now: () => number = Date.now,
  ) {
    this.#provider = provider
    this.#clock = clock
    this.#failed = failed
    this.#now = now
  }

  /** `link` was dialled with `token`, which the proxy has taken. */
  watch(link: Link, token: string): void {
    this.stop()
    this.#link = link
    this.#clockIsWrong = this.#isOver(token)
    this.#schedule(link, token)
  }

  stop(): void {
    this.#link = undefined
    this.#clock.clearTimer(this.#timer)
  }

  #schedule(link: Link, token: string): void {
    const dueMs = this.#clockIsWrong ? CLOCK_WRONG_MS : refreshInMs(token, this.#now())
    if (dueMs === undefined || (this.#clockIsWrong && typeof this.#provider !== 'function')) return
    this.#timer = this.#clock.setTimer(
      () => void this.#refresh(link, token),
      Math.min(MAX_TIMER_MS, Math.max(LEAST_MS, dueMs)),
    )
  }

  #isOver(token: string): boolean {
    return (expiryOf(token) ?? Number.POSITIVE_INFINITY) <= this.#now()
  }

  async #refresh(link: Link, token: string): Promise<void> {
    let fresh = token
    try {
      fresh = await askTokenWithin(this.#provider, { clock: this.#clock, ms: PATIENCE_MS })
      if (this.#link === link && fresh !== token) link.sendAuth(fresh)
    } catch (error) {
      if (this.#link === link) this.#failed(asTunnelError(error, 'client'))
    }
    if (this.#link !== link) return
    // Whether it is really over, the proxy says when something is opened.
    const isOver = !this.#clockIsWrong && this.#isOver(fresh)
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
  const message =
    "by this computer's clock the token has expired: the proxy opens nothing new until it gets a fresh one"
  return new TunnelError('TOKEN_EXPIRED', message, { hop: 'client' })
}
