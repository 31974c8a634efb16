import type { Clock } from '../protocol/clock.ts'
import type { TunnelError } from '../protocol/codec/errors.ts'

/**
 * How long an attempt is alone before the next address is tried beside it, in ms: the longest that RFC 8305 (section 5)
 * allows. What is timed here is more than a TCP connection: with TLS, the upgrade and HELLO it takes five round trips,
 * and a further attempt costs a proxy that is only busy as much as the first did. So each wait is twice as long as the
 * one before.
 */
export const STAGGER_MS = 2_000

export interface Attempt {
  /** Ends it, and leaves nothing of it open. */
  signal: AbortSignal
  /** The address has been asked: its time runs from here, as what came before was not its fault. */
  asked(): void
}

export interface StaggeredOptions<Found> {
  /** How many addresses there are. */
  count: number
  /** @param place which address: from 0, in the order in which they are tried */
  attempt(place: number, attempt: Attempt): Promise<Found>
  /** Closes what an attempt found when another one had been faster. */
  discard(found: Found): void
  /** An error after which no other address is tried. */
  isFinal(error: TunnelError): boolean
  clock: Clock
  /** Ends all attempts. */
  signal?: AbortSignal | undefined
}

/**
 * The first that an address answers with, as RFC 8305 has it (happy eyeballs): the next address is tried at once when one
 * has failed, and beside those that have not answered in time. The first that answers wins, and the others are ended.
 * @throws {TunnelError} what the last address failed with, or the first error that is final
 */
export function firstAnswer<Found>(options: StaggeredOptions<Found>): Promise<Found> {
  return new Promise((resolve, reject) => new Race(options, resolve, reject).begin())
}

class Race<Found> {
  readonly #options: StaggeredOptions<Found>
  readonly #resolve: (found: Found) => void
  readonly #reject: (error: TunnelError | undefined) => void
  /** What ends each attempt, in the order in which they were begun. */
  readonly #attempts: AbortController[] = []
  #pending = 0
  #isOver = false
  #lastFailure: TunnelError | undefined
  #timer: unknown

  constructor(
    options: StaggeredOptions<Found>,
    resolve: (found: Found) => void,
    reject: (error: TunnelError | undefined) => void,
  ) {
    this.#options = options
    this.#resolve = resolve
    this.#reject = reject
  }

  begin(): void {
    this.#options.signal?.addEventListener('abort', this.#endAll, { once: true })
    this.#next()
  }

  get #hasMore(): boolean {
    return this.#attempts.length < this.#options.count
  }

  readonly #next = (): void => {
    const { attempt, signal, clock } = this.#options
    clock.clearTimer(this.#timer)
    const own = new AbortController()
    const place = this.#attempts.push(own) - 1
    this.#pending++
    if (signal?.aborted === true) own.abort()
    const asked = (): void => this.#asked(place)
    attempt(place, { signal: own.signal, asked }).then(
      (found) => this.#found(own, found),
      (error: TunnelError) => this.#failed(place, error),
    )
  }

  #asked(place: number): void {
    const { clock } = this.#options
    if (this.#isOver || !this.#hasMore || place !== this.#attempts.length - 1) return
    clock.clearTimer(this.#timer)
    this.#timer = clock.setTimer(this.#next, STAGGER_MS * 2 ** place)
  }

  #found(winner: AbortController, found: Found): void {
    if (this.#isOver) return this.#options.discard(found)
    this.#settle()
    for (const each of this.#attempts) if (each !== winner) each.abort()
    this.#resolve(found)
  }

  #failed(place: number, error: TunnelError): void {
    this.#pending--
    if (this.#isOver) return
    const { count, isFinal, signal } = this.#options
    if (place === count - 1) this.#lastFailure = error
    if (isFinal(error) || signal?.aborted === true) this.#giveUp(error)
    else if (this.#hasMore) this.#next()
    else if (this.#pending === 0) this.#giveUp(this.#lastFailure)
  }

  #giveUp(error: TunnelError | undefined): void {
    this.#settle()
    this.#endAll()
    this.#reject(error)
  }

  #settle(): void {
    this.#isOver = true
    this.#options.clock.clearTimer(this.#timer)
    this.#options.signal?.removeEventListener('abort', this.#endAll)
  }

  readonly #endAll = (): void => {
    for (const each of this.#attempts) each.abort()
  }
}
