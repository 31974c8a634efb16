import type { Clock } from '../protocol/clock.ts'
import { TunnelError } from '../protocol/codec/errors.ts'

/**
 * How long a caller waits: until its signal says stop, or for a time, which can be called off. Every request has one,
 * so it is no AbortController, which costs as much as the rest of a small request.
 */
export class Deadline {
  readonly #outer: AbortSignal | undefined
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #what: string
  readonly #listeners = new Set<() => void>()
  #timer: unknown
  #movedAtMs: number | undefined
  #reason: TunnelError | undefined

  constructor(clock: Clock, outer: AbortSignal | null | undefined, timeoutMs: number, what: string) {
    this.#clock = clock
    this.#timeoutMs = timeoutMs
    this.#what = what
    this.#outer = outer ?? undefined
    if (this.#outer?.aborted === true) {
      this.#reason = aborted(this.#outer)
      return
    }
    this.#outer?.addEventListener('abort', this.#abort, { once: true })
    this.#timer = clock.setTimer(this.#timeUp, timeoutMs)
  }

  /** Why the caller no longer waits; undefined while it waits. */
  get reason(): TunnelError | undefined {
    return this.#reason
  }

  /** Calls `listener` once, when the caller no longer waits; at once where it has given up already. */
  onGivenUp(listener: () => void): void {
    if (this.#reason === undefined) this.#listeners.add(listener)
    else listener()
  }

  offGivenUp(listener: () => void): void {
    this.#listeners.delete(listener)
  }

  /** Something has moved: the time begins again. */
  moved(): void {
    this.#movedAtMs = this.#clock.now()
  }

  /** From here on only the caller's own signal counts. */
  stopTimer(): void {
    this.#clock.clearTimer(this.#timer)
  }

  end(): void {
    this.stopTimer()
    this.#outer?.removeEventListener('abort', this.#abort)
    this.#listeners.clear()
  }

  /** No timer is set each time that something moves, which is often: one that fires looks when that was. */
  readonly #timeUp = () => {
    const movedAtMs = this.#movedAtMs
    this.#movedAtMs = undefined
    if (movedAtMs !== undefined) {
      this.#timer = this.#clock.setTimer(this.#timeUp, movedAtMs + this.#timeoutMs - this.#clock.now())
      return
    }
    const text = `${this.#what} within ${this.#timeoutMs} ms`
    this.#giveUp(new TunnelError('TIMEOUT', text, { hop: 'client' }))
  }

  readonly #abort = () => this.#giveUp(aborted(this.#outer))

  #giveUp(reason: TunnelError): void {
    this.#reason = reason
    const listeners = [...this.#listeners]
    this.#listeners.clear()
    for (const listener of listeners) listener()
  }
}

function aborted(signal: AbortSignal | undefined): TunnelError {
  const reason: unknown = signal?.reason
  if (reason instanceof TunnelError) return reason
  return new TunnelError('ABORTED', 'the caller has given up', { cause: reason, hop: 'client' })
}
