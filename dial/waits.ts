import type { Clock } from '../protocol/clock.ts'
import type { TunnelError } from '../protocol/codec/errors.ts'
import { TokenBucket } from '../protocol/token-bucket.ts'
import { backoffMs } from './backoff.ts'
import type { BackoffOptions } from './options.ts'

/** How long to wait before the dial number `attempt` (from 1), in ms. Throws `error`, its failure, to end the dialling. */
export type Wait = (attempt: number, error: TunnelError | undefined) => number

/** The longest that a proxy may ask a peer to wait, in ms. */
const MAX_ASKED_MS = 300_000
/** The first dial is made so often when its connection is cut, with a growing pause between, in ms. */
const FIRST_DIAL_TRIES = 5
const FIRST_DIAL_PAUSE_MS = 50
/** Dials that need no pause before them, though links live for moments only; and the pause of the others, in ms. */
const FREE_DIALS_PER_SECOND = 4
const FREE_DIALS = 20
const FLAP_PAUSE_MS = 500
/** Between two tries to find another proxy while the old one still carries us, in ms; doubles up to the second. */
const MOVE_RETRY_MS = 200
const MOVE_RETRY_MAX_MS = 2_000
/** Dials in a row that may come to a proxy which leaves, and need no pause after them. */
const SENT_ON_TRIES = 4
/** While streams wait for a link: no backoff is longer, jitter aside, and the last dial begins this long before they are given up, in ms. */
const AWAITED_MAX_MS = 8_000
const LAST_CHANCE_MS = 3_000

/** The waits before dials, by what failed before. */
export class Waits {
  /** Dials in a row that brought no good link. */
  failures = 0
  readonly #backoff: BackoffOptions
  readonly #random: () => number
  /** Links that die young are followed at once, but not without end. */
  readonly #freeDials: TokenBucket

  constructor(backoff: BackoffOptions, random: () => number, clock: Clock) {
    this.#backoff = backoff
    this.#random = random
    this.#freeDials = new TokenBucket(clock, FREE_DIALS_PER_SECOND, FREE_DIALS)
  }

  /**
   * A proxy that answered and whose link was then cut is dialled again: that says nothing about the next try. So is one
   * that leaves, when it says to come again: a balancer hears of that later than we do.
   */
  first(attempt: number, error: TunnelError | undefined): number {
    if (error === undefined) return 0
    const mayPass = error.code === 'LINK_LOST' || error.code === 'SHUTTING_DOWN'
    if (!mayPass || attempt > FIRST_DIAL_TRIES) throw error
    return Math.max(FIRST_DIAL_PAUSE_MS * (attempt - 1), this.#askedMs(error))
  }

  /**
   * After a link that was lost, or a dial that failed.
   * @param windowMs for how long streams will still wait for a link; 0 when none does
   */
  afterLoss(error: TunnelError, windowMs: number): number {
    const isAwaited = windowMs > 0
    const isOver = this.failures >= this.#backoff.maxAttempts
    if (isOver && !isAwaited) throw error
    const askedMs = error.category === 'server' ? this.#askedMs(error) : 0
    let delayMs = backoffMs(this.failures, this.#limits(isAwaited, isOver), this.#random)
    if (isAwaited)
      delayMs = Math.min(delayMs, windowMs > LAST_CHANCE_MS ? windowMs - LAST_CHANCE_MS : windowMs)
    delayMs = Math.max(delayMs, askedMs)
    return delayMs === 0 && !this.#freeDials.take() ? FLAP_PAUSE_MS : delayMs
  }

  #limits(isAwaited: boolean, isOver: boolean): BackoffOptions {
    if (!isAwaited) return this.#backoff
    // Attempts that are used up end nothing while streams wait, but the dials that follow are no quick ones.
    if (isOver) return { ...this.#backoff, baseMs: AWAITED_MAX_MS, maxMs: AWAITED_MAX_MS }
    return { ...this.#backoff, maxMs: Math.min(this.#backoff.maxMs, AWAITED_MAX_MS) }
  }

  /** While the proxy that leaves still carries us. */
  whileMoving(attempt: number, error: TunnelError | undefined): number {
    if (error === undefined) return 0
    const waitMs = Math.min(MOVE_RETRY_MAX_MS, MOVE_RETRY_MS * 2 ** (attempt - 2))
    return Math.max(waitMs, this.#askedMs(error))
  }

  /** One that leaves says that another is there: nothing is wrong, unless it is the only one that answers. */
  failed(attempt: number, error: TunnelError): void {
    const isSentOn = error.code === 'SHUTTING_DOWN' && error.retryAfterMs === 0
    if (!isSentOn || attempt > SENT_ON_TRIES) this.failures++
  }

  /** What the proxy asks to wait, spread as every wait: it may have told a thousand others the same. */
  #askedMs({ retryAfterMs = 0 }: TunnelError): number {
    return Math.min(MAX_ASKED_MS, retryAfterMs) * (1 + this.#backoff.jitter * this.#random())
  }
}
