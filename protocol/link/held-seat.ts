import { errorFromWire, TunnelError } from '../codec/errors.ts'
import { decodeJson, FrameType, TYPE_MASK } from '../codec/frames.ts'
import type { Link } from './link.ts'
import { Seat } from './seat.ts'
import { ADMISSION_COST } from './work-meter.ts'

/**
 * Holds the number of a stream that a peer asks for while it is being decided who takes the stream. The peer can say
 * nothing in the meantime but that it no longer wants it.
 */
export class HeldSeat extends Seat {
  readonly priority = 'normal'
  #error: TunnelError | undefined

  constructor(link: Link, number: number) {
    super(link, number)
    link.charge(ADMISSION_COST)
  }

  /** The peer has given the stream up, its link has closed, or somebody has taken the place. */
  get gone(): boolean {
    return this.released
  }
  /** Why the peer gave the stream up; undefined where its link closed. */
  get error(): TunnelError | undefined {
    return this.#error
  }

  /** The stream is admitted: the place is whoever's takes it, and asking for it was no work for nothing. */
  grant(): void {
    if (!this.released) this.link.credit(ADMISSION_COST)
    this.release()
  }

  /** Refuses the stream. Does nothing for a peer that no longer wants it. */
  refuse(error: TunnelError): void {
    if (this.released) return
    const { number } = this
    this.release()
    this.link.refuse(number, error)
  }

  protected receive(typeByte: number, frame: Uint8Array): void {
    const type = typeByte & TYPE_MASK
    // A relay on the way has lost its opener's link: so have we.
    if (type === FrameType.SUSPEND) return this.release()
    if (type !== FrameType.RESET) {
      throw new TunnelError('FRAME_INVALID', 'a frame comes before the answer', { hop: 'link' })
    }
    this.#error = errorFromWire(decodeJson(frame))
    this.release()
  }

  protected failed(error: TunnelError): void {
    this.#error = error
    this.refuse(error)
  }

  protected next(): undefined {}
  protected closed(): void {}
}
