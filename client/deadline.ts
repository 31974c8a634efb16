import type { Clock } from '../protocol/clock.ts'
import { MAX_TIMER_MS, TunnelError } from '../protocol/codec/errors.ts'

/** Thousands wait at once, with one listener each at most: a set for each would be much of what they take. */
const NOBODY: readonly (() => void)[] = []

/**
 * How long a caller waits: until its signal says stop, or for a time, which can be called off. Every request has one,
 * so it is no AbortController, which costs as much as the rest of a small request.
 */
export class Deadline {
  readonly #outer: AbortSignal | undefined
  readonly #clock: Clock
  readonly #what: string
  #listeners = NOBODY
  #timeoutMs = 0
  #timer: unknown
  /** By the clock; undefined where it is when the timer fires. */
  #untilMs: number | undefined
  #reason: TunnelError | undefined
  #isCallers = false
  #abort: (() => void) | undefined

  /** @param timeoutMs absent: without end, until `limit` says another thing */
  constructor(
    clock: Clock,
    outer: AbortSignal | null | undefined,
    timeoutMs: number | undefined,
    what: string,
  ) {
    this.#clock = clock
    this.#what = what
    this.#outer = outer ?? undefined
    if (this.#outer?.aborted === true) {
      this.#callerGaveUp(aborted(this.#outer))
      return
    }
    if (this.#outer !== undefined) {
      this.#abort = () => this.#callerGaveUp(aborted(this.#outer))
      this.#outer.addEventListener('abort', this.#abort, { once: true })
    }
    this.limit(timeoutMs)
  }

  /** Why the caller no longer waits; undefined while it waits. */
  get reason(): TunnelError | undefined {
    return this.#reason
  }

  /** It was the caller who gave up, by its signal or because its time is over. */
  get isCallers(): boolean {
    return this.#isCallers
  }

  /** Calls `listener` once, when the caller no longer waits; at once where it has given up already. */
  onGivenUp(listener: () => void): void {
    if (this.#reason === undefined) this.#listeners = [...this.#listeners, listener]
    else listener()
  }

  offGivenUp(listener: () => void): void {
    this.#listeners = this.#listeners.filter((other) => other !== listener)
  }

  /** The time begins again, with another length; without end when that is absent. */
  limit(timeoutMs: number | undefined): void {
    this.stopTimer()
    if (timeoutMs === undefined || this.#reason !== undefined) return
    this.#timeoutMs = timeoutMs
    this.#untilMs = timeoutMs > MAX_TIMER_MS ? this.#clock.now() + timeoutMs : undefined
    // The shortest timer is a ms, in which an answer may come: what is too late is not begun.
    if (timeoutMs <= 0) this.#timeUp()
    else this.#setTimer(timeoutMs)
  }

  /** Something has moved: the time begins again, and ends at `latestMs` by the clock all the same. */
  moved(latestMs: number): void {
    this.#untilMs = Math.min(latestMs, this.#clock.now() + this.#timeoutMs)
  }

  /** From here on only the caller's own signal counts. */
  stopTimer(): void {
    this.#clock.clearTimer(this.#timer)
  }

  end(): void {
    this.stopTimer()
    if (this.#abort !== undefined) this.#outer?.removeEventListener('abort', this.#abort)
    this.#listeners = NOBODY
  }

  #setTimer(ms: number): void {
    this.#timer = this.#clock.setTimer(() => this.#timeUp(), Math.min(ms, MAX_TIMER_MS))
  }

  /** No timer is set each time that something moves, which is often: one that fires looks when the time is over. */
  #timeUp(): void {
    const leftMs = this.#untilMs === undefined ? 0 : this.#untilMs - this.#clock.now()
    if (leftMs >= 1) return this.#setTimer(leftMs)
    const text = `${this.#what} within ${this.#timeoutMs} ms`
    this.#callerGaveUp(new TunnelError('TIMEOUT', text, { hop: 'client' }))
  }

  #callerGaveUp(reason: TunnelError): void {
    this.#isCallers = this.#reason === undefined || this.#isCallers
    this.giveUp(reason)
  }

  /** Ends the wait for a reason that is not the caller's. */
  giveUp(reason: TunnelError): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    const listeners = this.#listeners
    this.#listeners = NOBODY
    for (const listener of listeners) listener()
  }
}

function aborted(signal: AbortSignal | undefined): TunnelError {
  const reason: unknown = signal?.reason
  if (reason instanceof TunnelError) return reason
  return new TunnelError('ABORTED', 'the caller has given up', { cause: reason, hop: 'client' })
}
