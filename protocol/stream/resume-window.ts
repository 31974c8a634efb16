import type { Clock } from '../clock.ts'

/** Whose window it is. */
export interface WindowOwner {
  /** A peer is there that gives the stream up at the same time, and says why. */
  readonly hasPeer: boolean
  /** The window is over, and no path has come back. */
  expired(): void
}

/** How long such a peer has to say it, in ms. Without that, what a user is told would be a matter of which timer is first. */
const LAST_WORD_MS = 500

/** How long one end keeps a stream that has no path to its peer. */
export class ResumeWindow {
  readonly #clock: Clock
  readonly #owner: WindowOwner
  #lengthMs: number
  #timer: unknown

  constructor(clock: Clock, lengthMs: number, owner: WindowOwner) {
    this.#clock = clock
    this.#lengthMs = lengthMs
    this.#owner = owner
  }

  get lengthMs(): number {
    return this.#lengthMs
  }

  /** The peer keeps it no longer than that; counts from the next `start`. */
  shorten(lengthMs: number): void {
    this.#lengthMs = Math.min(this.#lengthMs, lengthMs)
  }

  /** Runs on where it runs already. */
  start(): void {
    this.#timer ??= this.#clock.setTimer(() => this.#over(), this.#lengthMs)
  }

  #over(): void {
    if (this.#owner.hasPeer) this.#timer = this.#clock.setTimer(() => this.#owner.expired(), LAST_WORD_MS)
    else this.#owner.expired()
  }

  stop(): void {
    if (this.#timer !== undefined) this.#clock.clearTimer(this.#timer)
    this.#timer = undefined
  }
}
