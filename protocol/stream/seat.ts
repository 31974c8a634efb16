import { asTunnelError } from '../codec/errors.ts'
import { TYPE_MASK } from '../codec/frames.ts'
import { isSealed, type Priority } from '../codec/heads.ts'
import type { LinkChannel } from '../link/channels.ts'
import type { Link } from '../link/link.ts'
import type { TunnelStream } from './stream.ts'

/** A stream's place on one link. What arrives for a place that the stream has left is dropped. */
export class StreamSeat implements LinkChannel {
  readonly link: Link
  readonly #stream: TunnelStream
  #number: number | undefined
  #released = false

  /** Without `number` the port takes the link's next one when its first frame leaves. */
  constructor(stream: TunnelStream, link: Link, number?: number) {
    this.#stream = stream
    this.link = link
    this.#number = number
    link.join(this)
    if (number !== undefined) link.bind(number, this)
  }

  get priority(): Priority {
    return this.#stream.head.priority ?? 'normal'
  }

  get compressible(): boolean {
    return !isSealed(this.#stream.head.kind)
  }

  /** The stream's number on this link; taken now if it has none yet. */
  get number(): number {
    if (this.#number === undefined) {
      this.#number = this.link.takeNumber()
      this.link.bind(this.#number, this)
    }
    return this.#number
  }

  /** Whether the peer has ever heard of this port. */
  get numbered(): boolean {
    return this.#number !== undefined
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
    this.link.acknowledgeLater(this)
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.link.release(this, this.#number)
  }

  nextFrame(maxDataBytes: number): Uint8Array | undefined {
    return this.#released ? undefined : this.#stream.nextFrame(this, maxDataBytes)
  }

  frame(typeByte: number, frame: Uint8Array): void {
    if (this.#released) return
    try {
      this.#stream.receive(typeByte & TYPE_MASK, typeByte, frame)
    } catch (error) {
      this.#stream.reset(asTunnelError(error))
    }
  }

  acknowledge(): void {
    if (!this.#released) this.#stream.acknowledge()
  }

  tick(nowMs: number, readToMs: number): boolean {
    return !this.#released && this.#stream.checkProgress(nowMs, readToMs)
  }

  linkClosed(): void {
    if (this.#released) return
    this.#released = true
    this.#stream.suspend()
  }
}
