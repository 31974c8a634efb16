import type { Clock } from '../../protocol/clock.ts'
import type { ChannelLease } from '../pool/index.ts'

/** How long an opener may be away before others may have the place of its channel, in ms; most are back by then. */
const AWAY_MS = 5_000

/** The place of a stream whose opener's link is gone: it is of more use to somebody who is there than to one who may come back. */
export class AwayPlace {
  readonly #clock: Clock
  readonly #lease: () => ChannelLease | undefined
  readonly #giveBack: () => void
  #isAway = false
  #timer: unknown

  /**
   * @param lease the place that the stream has by then
   * @param giveBack called when somebody else is to have it
   */
  constructor(clock: Clock, lease: () => ChannelLease | undefined, giveBack: () => void) {
    this.#clock = clock
    this.#lease = lease
    this.#giveBack = giveBack
  }

  get isAway(): boolean {
    return this.#isAway
  }

  suspended(): void {
    this.#isAway = true
    this.#timer = this.#clock.setTimer(() => this.#lease()?.offer(this.#giveBack, 'suspended'), AWAY_MS)
  }

  resumed(): void {
    this.stop()
    this.#lease()?.keep()
  }

  /** The stream is over, or back. */
  stop(): void {
    this.#isAway = false
    this.#clock.clearTimer(this.#timer)
  }
}
