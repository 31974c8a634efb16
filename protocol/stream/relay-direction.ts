import { decodeWindow, encodeWindow } from '../codec/frames.ts'
import type { Pace } from './pace.ts'
import type { RelayLeg } from './relay-leg.ts'

/** What a relay has seen of one direction: enough to know when nothing more will come, and how far its sender was let go. */
export class RelayDirection {
  offset = 0
  acknowledged = 0
  /** The offset of its END, once that is known. */
  end: number | undefined
  /** With a pace: how far its sender was let go, and how far it may go when nothing is owed. */
  #limit: number | undefined
  #grantable = 0
  /** Lets it go so far. */
  #grant: (() => void) | undefined

  get done(): boolean {
    return this.end !== undefined && this.acknowledged >= this.end
  }

  /**
   * The WINDOW `frame` on its way `to` the sender: it acknowledges what it did, and lets the sender go no further than
   * before while something is owed.
   */
  paced(pace: Pace, frame: Uint8Array, to: RelayLeg): Uint8Array {
    const { received, limit } = decodeWindow(frame)
    this.#grantable = limit
    if (this.#grant === undefined) {
      this.#grant = () => {
        this.#limit = this.#grantable
        to.queue(encodeWindow(0, { received: this.acknowledged, limit: this.#limit }), to.link)
      }
    } else if (this.#limit !== undefined && !pace.isClear(this.#grant)) {
      return encodeWindow(0, { received, limit: this.#limit })
    }
    this.#limit = limit
    return frame
  }

  /** The relay is over. */
  forget(pace: Pace): void {
    if (this.#grant !== undefined) pace.forget(this.#grant)
  }
}
