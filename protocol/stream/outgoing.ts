import { TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType, HEADER_BYTES } from '../codec/frames.ts'
import type { AcceptHead, StreamEvent } from '../codec/heads.ts'
import type { SendHalf } from './send-half.ts'

/** First bytes that ride on an ACCEPT, at most; the rest follows as DATA. */
const MAX_FIRST_BYTES = 16_384
/** The longest JSON of an event or a head; with MAX_FIRST_BYTES it fits the smallest window. */
const MAX_EVENT_BYTES = 49_000

/** What a stream's consumer writes, and what it is told of it. */
export class Outgoing {
  readonly #send: SendHalf
  readonly #writer: { drained(): void }
  #drainWanted = false
  #onFramed: (() => void) | undefined

  /** @param writer told after `write` returned false, when there is room again */
  constructor(send: SendHalf, writer: { drained(): void }) {
    this.#send = send
    this.#writer = writer
  }

  /** @throws {TunnelError} FRAME_TOO_LARGE */
  accept(answer: AcceptHead, first: Uint8Array | undefined, end: boolean): void {
    const riding = first !== undefined && first.length <= MAX_FIRST_BYTES ? first : undefined
    const frame = frames.encodeHead(FrameType.ACCEPT, 0, answer, riding)
    const mostBytes = HEADER_BYTES + MAX_EVENT_BYTES + (riding?.length ?? 0)
    if (frame.length > mostBytes) throw tooLong('the head of the answer')
    this.#send.writeFrame(frame)
    if (first !== undefined && riding === undefined) this.#send.write(FrameType.DATA, first)
    if (end) this.#send.end()
  }

  /** False: wait for `drained`. */
  write(type: typeof FrameType.DATA | typeof FrameType.AUX, bytes: Uint8Array): boolean {
    this.#send.write(type, bytes)
    this.#drainWanted = this.#send.aboveHighWater
    return !this.#drainWanted
  }

  /** @throws {TunnelError} FRAME_TOO_LARGE */
  event(event: StreamEvent): void {
    const frame = frames.encodeJson(FrameType.EVENT, 0, event)
    if (frame.length > HEADER_BYTES + MAX_EVENT_BYTES) throw tooLong('the event')
    this.#send.writeFrame(frame)
  }

  end(bytes: Uint8Array | undefined): void {
    if (bytes !== undefined) this.#send.write(FrameType.DATA, bytes)
    this.#send.end()
  }

  whenFramed(callback: () => void): void {
    if (this.#send.pendingBytes === 0) callback()
    else this.#onFramed = callback
  }

  /** The next frame, under `number`. */
  next(number: number, maxDataBytes: number): Uint8Array | undefined {
    const frame = this.#send.next(number, maxDataBytes)
    if (this.#drainWanted && this.#send.belowLowWater) {
      this.#drainWanted = false
      this.#writer.drained()
    }
    if (this.#onFramed !== undefined && this.#send.pendingBytes === 0) {
      const onFramed = this.#onFramed
      this.#onFramed = undefined
      onFramed()
    }
    return frame
  }

  release(): void {
    this.#onFramed = undefined
    this.#send.release()
  }
}

function tooLong(what: string): TunnelError {
  return new TunnelError('FRAME_TOO_LARGE', `${what} is too long`, { hop: 'link' })
}
