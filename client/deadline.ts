import type { Clock } from '../protocol/clock.ts'
import { TunnelError } from '../protocol/codec/errors.ts'

/**
 * How long a caller waits: until his signal says stop, or for a time, which can be called off. Every request has one,
 * so it is no AbortController, which costs as much as the rest of a small request.
 */
export class Deadline {
  readonly #outer: AbortSignal | undefined
  readonly #clock: Clock
  readonly #listeners = new Set<() => void>()
  #timer: unknown
  #reason: TunnelError | undefined

  constructor(clock: Clock, outer: AbortSignal | null | undefined, timeoutMs: number, what: string) {
    this.#clock = clock
    this.#outer = outer ?? undefined
    if (this.#outer?.aborted === true) {
      this.#reason = aborted(this.#outer)
      return
    }
    this.#outer?.addEventListener('abort', this.#abort, { once: true })
    this.#timer = clock.setTimer(() => {
      this.#giveUp(new TunnelError('TIMEOUT', `${what} within ${timeoutMs} ms`, { hop: 'client' }))
    }, timeoutMs)
  }

  /** Why the caller waits no more; undefined while he does. */
  get reason(): TunnelError | undefined {
    return this.#reason
  }

  /** Calls `listener` once, when the caller waits no more; at once where he has given up already. */
  onGivenUp(listener: () => void): void {
    if (this.#reason === undefined) this.#listeners.add(listener)
    else listener()
  }

  offGivenUp(listener: () => void): void {
    this.#listeners.delete(listener)
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
