import { encodeWindow } from '../codec/frames.ts'
import type { StreamPath } from './path.ts'
import type { ReceiveHalf } from './receive-half.ts'

/** Tells the peer what is here and how far it may go. */
export class Acknowledger {
  readonly #incoming: ReceiveHalf
  readonly #path: StreamPath
  /** A frame is being delivered: what the consumer does meanwhile is told to the peer after it. */
  delivering = false

  constructor(incoming: ReceiveHalf, path: StreamPath) {
    this.#incoming = incoming
    this.#path = path
  }

  /** Now when it matters, else soon. Returns whether the peer has been told. */
  tell(): boolean {
    if (this.delivering) return false
    if (this.#incoming.due) return this.now()
    if (!this.#incoming.told && this.#path.at !== 'resuming') this.#path.seat?.acknowledgeLater()
    return false
  }

  /** Sends WINDOW now, where there is a path. Returns whether there was one. */
  now(): boolean {
    const { seat, at } = this.#path
    if (seat === undefined || at === 'resuming') return false
    seat.send(encodeWindow(seat.number, this.#incoming.tell()))
    return true
  }
}
