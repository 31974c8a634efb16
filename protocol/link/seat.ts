import { asTunnelError, type TunnelError } from '../codec/errors.ts'
import type { Priority } from '../codec/heads.ts'
import type { LinkChannel } from './channels.ts'
import type { Link } from './link.ts'

/**
 * One place on one link: the number that its frames go under, taken when it is first needed, until it is given back.
 * What arrives for a place that has been left is dropped. Who sits there is for a subclass to say.
 */
export abstract class Seat implements LinkChannel {
  readonly link: Link
  #number: number | undefined
  #released = false

  /** Without `number` the seat takes the link's next one when its first frame leaves. */
  constructor(link: Link, number?: number) {
    this.link = link
    this.#number = number
    link.join(this)
    if (number !== undefined) link.bind(number, this)
  }

  abstract readonly priority: Priority
  /** The next frame, under `number`; asked only while the seat is held. */
  protected abstract next(maxDataBytes: number): Uint8Array | undefined
  /** A frame from the peer. What is thrown is given to `failed`. */
  protected abstract receive(typeByte: number, frame: Uint8Array): void
  protected abstract failed(error: TunnelError): void
  /** The link has closed under the seat, which has been left. */
  protected abstract closed(): void

  get compressible(): boolean {
    return false
  }

  /** The number on this link; taken now if there is none yet. */
  get number(): number {
    if (this.#number === undefined) {
      this.#number = this.link.takeNumber()
      this.link.bind(this.#number, this)
    }
    return this.#number
  }

  /** Whether the peer has ever heard of this place. */
  get numbered(): boolean {
    return this.#number !== undefined
  }
  get released(): boolean {
    return this.#released
  }

  wake(): void {
    if (!this.#released) this.link.wake(this)
  }

  /** Past the scheduler: for what is not counted. */
  send(frame: Uint8Array): void {
    if (!this.#released) this.link.send(frame)
  }

  /** Acknowledges soon, unless something does before. */
  acknowledgeLater(): void {
    if (!this.#released) this.link.acknowledgeLater(this)
  }

  /** Gives the number back without sending a frame; from now on it only hears of the link's end. */
  stepBack(): void {
    if (this.#released) return
    this.link.stepBack(this, this.#number)
    this.#number = undefined
  }

  /** Gives the number back without sending a frame, and leaves the link. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.link.release(this, this.#number)
  }

  nextFrame(maxDataBytes: number): Uint8Array | undefined {
    return this.#released ? undefined : this.next(maxDataBytes)
  }

  frame(typeByte: number, frame: Uint8Array): void {
    if (this.#released) return
    try {
      this.receive(typeByte, frame)
    } catch (error) {
      this.failed(asTunnelError(error, 'link'))
    }
  }

  linkClosed(): void {
    if (this.#released) return
    this.release()
    this.closed()
  }

  acknowledge(): void {}
  tick(_nowMs: number, _readToMs: number): boolean {
    return false
  }
}
