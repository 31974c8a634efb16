import { asTunnelError } from '../codec/errors.ts'
import { FrameType } from '../codec/frames.ts'
import type { AcceptHead, StreamEvent } from '../codec/heads.ts'
import type { ByteStream } from './byte-stream.ts'
import type { StreamHandlers } from './event-buffer.ts'
import { StreamWay } from './stream-way.ts'

/** One end of a stream, as whoever carries its bytes sees it. */
export class TunnelStream extends StreamWay implements ByteStream {
  /** The acceptor is known to have had the OPEN. */
  get answered(): boolean {
    return this.opening === undefined || this.opening.answered
  }
  /** Since when an OPEN has been under way, by the clock; undefined while none has left. */
  get openedAtMs(): number | undefined {
    return this.opening?.sentAtMs
  }
  /** The instance of the peer that the first OPEN was sent to. */
  get openedAt(): string | undefined {
    return this.opening?.sentTo
  }
  /** Written or sent and not known to be safe at the peer, in bytes. */
  get heldBytes(): number {
    return this.send.pendingBytes + this.send.unacknowledgedBytes
  }
  get sentOffset(): number {
    return this.send.sentOffset
  }
  get windowBytes(): number {
    return this.incoming.windowBytes
  }

  handle(handlers: StreamHandlers): void {
    this.deliveries.handle(handlers)
  }

  accept(head: Partial<AcceptHead> = {}, first?: Uint8Array, end = false): void {
    if (this.side !== 'acceptor' || this.state !== 'opening') return
    const window = this.incoming.windowBytes
    const answer = { window, resumeMs: this.resumeWindow.lengthMs, ...head }
    if (this.#write(() => this.outgoing.accept(answer, first, end))) this.opened()
  }

  write(bytes: Uint8Array): boolean {
    return this.#ended || this.#more(this.outgoing.write(FrameType.DATA, bytes))
  }

  writeAux(bytes: Uint8Array): boolean {
    return this.#ended || this.#more(this.outgoing.write(FrameType.AUX, bytes))
  }

  /** Nothing more can be written. */
  get #ended(): boolean {
    return this.state === 'closed' || this.send.endWritten
  }

  #more(goOn = true): boolean {
    this.path.seat?.wake()
    return goOn
  }

  /** Whether it could be written; what is too long ends the stream. */
  #write(write: () => void): boolean {
    try {
      write()
      return this.#more()
    } catch (error) {
      this.reset(asTunnelError(error, 'link'))
      return false
    }
  }

  whenFramed(callback: () => void): void {
    this.outgoing.whenFramed(callback)
  }

  /** One that is too long ends the stream with FRAME_TOO_LARGE. */
  event(event: StreamEvent): void {
    if (!this.#ended) this.#write(() => this.outgoing.event(event))
  }

  end(bytes?: Uint8Array): void {
    if (!this.#ended) this.#write(() => this.outgoing.end(bytes))
  }
}
