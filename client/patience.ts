import type { Clock } from '../protocol/clock.ts'
import { TunnelError } from '../protocol/errors.ts'
import { aborted } from './request-queue.ts'

/** How long a caller waits: until his signal says stop, or for a time, which can be called off. */
export class Patience {
  readonly #controller = new AbortController()
  readonly #outer: AbortSignal | undefined
  readonly #clock: Clock
  #timer: unknown

  constructor(clock: Clock, outer: AbortSignal | null | undefined, timeoutMs: number, what: string) {
    this.#clock = clock
    this.#outer = outer ?? undefined
    if (this.#outer?.aborted === true) {
      this.#controller.abort(aborted(this.#outer))
      return
    }
    this.#outer?.addEventListener('abort', this.#abort, { once: true })
    this.#timer = clock.setTimer(() => {
      this.#controller.abort(new TunnelError('TIMEOUT', `${what} within ${timeoutMs} ms`, { hop: 'client' }))
    }, timeoutMs)
  }

  /** Its reason is always a TunnelError. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** From here on only the caller's own signal counts. */
  stopTimer(): void {
    this.#clock.clearTimer(this.#timer)
  }

  end(): void {
    this.stopTimer()
    this.#outer?.removeEventListener('abort', this.#abort)
  }

  readonly #abort = () => {
    this.#controller.abort(aborted(this.#outer))
  }
}
