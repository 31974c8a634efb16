import { TunnelError } from '../codec/errors.ts'
import { copyFrame, setStreamNumber } from '../codec/frames.ts'
import { Fifo } from '../fifo.ts'
import { FramePool } from '../link/frame-pool.ts'

interface Sent {
  frame: Uint8Array
  endOffset: number
  /** It has been on one link alone: acknowledged there, it has left that link's socket, and its memory is free. */
  once: boolean
}

/** Frames that were sent and may not have arrived, oldest first, whole so that they can go again on another link. */
export class SentFrames {
  readonly #frames = new Fifo<Sent>()
  /** The next of #frames to send again on this link; equal to #frames.length when nothing is. */
  #next = 0
  #sent = 0
  #acknowledged = 0
  readonly #pool = new FramePool()

  get sentOffset(): number {
    return this.#sent
  }
  get acknowledgedOffset(): number {
    return this.#acknowledged
  }
  get unacknowledgedBytes(): number {
    return this.#sent - this.#acknowledged
  }

  /** Memory for a frame of `size` bytes. */
  take(size: number): Uint8Array {
    return this.#pool.take(size)
  }

  /** `frame` is being sent, behind all that were sent before. */
  add(frame: Uint8Array): void {
    this.#sent += frame.length
    this.#frames.push({ frame, endOffset: this.#sent, once: true })
    this.#next = this.#frames.length
  }

  /**
   * The peer has all up to `received`. `allowedBytes` is what the stream may keep, with what is still in flight.
   * @throws {TunnelError} FRAME_INVALID when it runs backwards, beyond what was sent, or ends inside a frame
   */
  acknowledge(received: number, allowedBytes: number): void {
    if (received < this.#acknowledged)
      throw invalid(`received runs back from ${this.#acknowledged} to ${received}`)
    if (received > this.#sent) throw invalid(`received is ${received}, but only ${this.#sent} was sent`)
    let last = this.#acknowledged
    for (let oldest = this.#frames.at(0); oldest !== undefined && oldest.endOffset <= received; ) {
      last = oldest.endOffset
      if (oldest.once) this.#pool.give(oldest.frame, allowedBytes - (this.#sent - received))
      this.#frames.shift()
      if (this.#next > 0) this.#next--
      oldest = this.#frames.at(0)
    }
    if (last !== received) throw invalid(`received ${received} is inside a frame`)
    this.#acknowledged = received
  }

  /** An older link's socket may still hold what the peer acknowledges on the next one. */
  leaveLink(): void {
    for (let index = 0; index < this.#frames.length; index++) this.#frames.at(index)!.once = false
  }

  /** Whatever is not acknowledged goes again. */
  rewind(): void {
    this.#next = 0
  }

  /** The next that goes again, under `stream`; undefined when none does. */
  again(stream: number): Uint8Array | undefined {
    if (this.#next === this.#frames.length) return undefined
    // A copy: an older link may still hold the original, under its own number, in its socket.
    const again = copyFrame(this.#frames.at(this.#next++)!.frame)
    setStreamNumber(again, stream)
    return again
  }

  /** Lets go of memory that waits to be used again. */
  shrink(): void {
    this.#pool.clear()
  }

  /** Lets go of everything. */
  clear(): void {
    this.#frames.clear()
    this.#next = 0
    this.#pool.clear()
  }
}

function invalid(text: string): TunnelError {
  return new TunnelError('FRAME_INVALID', text, { hop: 'link' })
}
