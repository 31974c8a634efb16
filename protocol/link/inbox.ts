import type { Clock } from '../clock.ts'
import { Fifo } from '../fifo.ts'
import type { Work } from './work-meter.ts'

export interface InboxOptions {
  clock: Clock
  /** Without it nothing is ever held up. */
  work: Work | undefined
  deliver(frame: Uint8Array): void
  /** Stops reading, and goes on. */
  hold(): void
  unhold(): void
}

/**
 * What has been read of a link and waits while its user has caused enough work: a transport that is paused still gives
 * the rest of what it has read at once.
 */
export class Inbox {
  readonly #options: InboxOptions
  readonly #waiting = new Fifo<Uint8Array>()
  #timer: unknown
  #waits = false
  #closed = false

  constructor(options: InboxOptions) {
    this.#options = options
  }

  message(frame: Uint8Array): void {
    if (this.#closed) return
    if (this.#waits) this.#waiting.push(frame)
    else this.#options.deliver(frame)
  }

  /** The peer has caused work, in µs. */
  charge(cost: number): void {
    const { work, clock, hold } = this.#options
    if (work === undefined || this.#closed) return
    const waitMs = work.charge(cost)
    if (waitMs <= 0 || this.#waits) return
    this.#waits = true
    hold()
    this.#timer = clock.setTimer(() => this.#goOn(), waitMs)
  }

  /** Work that was charged for does not count after all. */
  credit(cost: number): void {
    const { work, clock } = this.#options
    if (work === undefined || this.#closed) return
    work.credit(cost)
    if (!this.#waits || work.charge(0) > 0) return
    clock.clearTimer(this.#timer)
    this.#timer = clock.setTimer(() => this.#goOn(), 0)
  }

  #goOn(): void {
    const { work, clock, deliver, unhold } = this.#options
    // Another of the user's links may have been first, and have used up the turn of all of them.
    const waitMs = work?.charge(0) ?? 0
    if (waitMs > 0) {
      this.#timer = clock.setTimer(() => this.#goOn(), waitMs)
      return
    }
    this.#waits = false
    while (!this.#waits && !this.#closed && this.#waiting.length > 0) deliver(this.#waiting.shift()!)
    // One hold for this wait; another may have begun.
    unhold()
  }

  close(): void {
    this.#closed = true
    this.#options.clock.clearTimer(this.#timer)
    this.#waiting.clear()
  }
}
