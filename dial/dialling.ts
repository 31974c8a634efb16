import type { Clock } from '../protocol/clock.ts'
import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { DialledHandlers, DialledLink, Dialler } from './dialler.ts'
import { Pause } from './pause.ts'
import type { Wait } from './waits.ts'

export interface DiallingOptions {
  dialler: Dialler
  handlers: DialledHandlers
  clock: Clock
  /** Ends every dial and every wait, for good. */
  signal: AbortSignal
}

/** Dials again and again until there is a link; several at a time may want one. */
export class Dialling {
  readonly #options: DiallingOptions
  /** What breaks off each dial that is under way. */
  readonly #dials = new Set<AbortController>()
  /** Waits before a dial that are under way. */
  readonly #pauses = new Set<Pause>()

  constructor(options: DiallingOptions) {
    this.#options = options
    const end = (): void => {
      this.breakOff()
      this.hurry()
    }
    options.signal.addEventListener('abort', end, { once: true })
  }

  /** Breaks off the dials that are under way. Those that are still wanted are made again, at once. */
  breakOff(): void {
    for (const dial of this.#dials) dial.abort()
  }

  /** Ends every wait before a dial; a dial that is under way goes on. */
  hurry(): void {
    for (const pause of this.#pauses) pause.end()
  }

  /**
   * Dials until there is a link.
   * @param isWanted asked before each dial; the link is another's task when it answers false
   * @throws {TunnelError} the last failure, when no dial follows it, or ABORTED
   */
  async untilLinked(wait: Wait, isWanted = () => true): Promise<DialledLink> {
    let error: TunnelError | undefined
    for (let attempt = 1; ; attempt++) {
      const delayMs = wait(attempt, error)
      if (delayMs > 0) await this.#sleep(delayMs)
      try {
        return await this.#dial(isWanted)
      } catch (failure) {
        error = asTunnelError(failure, 'client')
        if (this.#options.signal.aborted || !isWanted()) throw error
      }
    }
  }

  async #sleep(ms: number): Promise<void> {
    const pause = new Pause(this.#options.clock, ms)
    this.#pauses.add(pause)
    await pause.over
    this.#pauses.delete(pause)
  }

  /** One round of dials, again when it was broken off and is still wanted. */
  async #dial(isWanted: () => boolean): Promise<DialledLink> {
    const { dialler, handlers, signal } = this.#options
    for (;;) {
      if (!isWanted()) throw calledOff()
      const dial = new AbortController()
      if (signal.aborted) dial.abort()
      this.#dials.add(dial)
      try {
        return await dialler.dial(handlers, dial.signal)
      } catch (error) {
        if (!dial.signal.aborted || signal.aborted) throw error
      } finally {
        this.#dials.delete(dial)
      }
    }
  }
}

function calledOff(): TunnelError {
  return new TunnelError('ABORTED', 'the dial was called off', { hop: 'client' })
}
