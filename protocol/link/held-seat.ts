import { asTunnelError, errorFromWire, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import type { LinkChannel } from './channels.ts'
import type { Link } from './link.ts'

/**
 * Holds the number of a stream that a peer asks for while it is being decided who takes the stream. The peer can say
 * nothing in the meantime but that it no longer wants it.
 */
export class HeldSeat implements LinkChannel {
  readonly priority = 'normal'
  readonly compressible = false
  readonly #link: Link
  readonly #number: number
  #gone = false
  #error: TunnelError | undefined

  constructor(link: Link, number: number) {
    this.#link = link
    this.#number = number
    link.join(this)
    link.bind(number, this)
  }

  /** The peer has given the stream up, or its link has closed. */
  get gone(): boolean {
    return this.#gone
  }
  /** Why the peer gave the stream up; undefined where its link closed. */
  get error(): TunnelError | undefined {
    return this.#error
  }

  /** Gives the number back without a word, to whoever binds it next. */
  release(): void {
    if (this.#gone) return
    this.#gone = true
    this.#link.release(this, this.#number)
  }

  /** Refuses the stream. Does nothing for a peer that no longer wants it. */
  refuse(error: TunnelError): void {
    if (this.#gone) return
    this.release()
    this.#link.refuse(this.#number, error)
  }

  frame(typeByte: number, frame: Uint8Array): void {
    if (this.#gone) return
    try {
      if ((typeByte & frames.TYPE_MASK) !== frames.FrameType.RESET) {
        throw new TunnelError('FRAME_INVALID', 'a frame comes before the answer')
      }
      this.#error = errorFromWire(frames.decodeJson(frame))
      this.release()
    } catch (error) {
      this.#error = asTunnelError(error)
      this.refuse(this.#error)
    }
  }

  linkClosed(): void {
    this.#gone = true
  }

  nextFrame(): undefined {}
  acknowledge(): void {}
  tick(): boolean {
    return false
  }
}
