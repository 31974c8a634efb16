import { checkAcceptHead, checkEvent, checkResumed } from '../codec/check-answers.ts'
import { errorFromWire, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType, HEADER_BYTES } from '../codec/frames.ts'
import type { StreamState } from './byte-stream.ts'
import type { EventBuffer } from './event-buffer.ts'
import type { Opening } from './opening.ts'
import type { StreamPath } from './path.ts'
import type { ReceiveHalf } from './receive-half.ts'
import type { ResumeWindow } from './resume-window.ts'
import type { SendHalf } from './send-half.ts'

/** The parts of one end of a stream that its peer's frames are about. */
export interface StreamParts {
  readonly path: StreamPath
  readonly send: SendHalf
  readonly receive: ReceiveHalf
  readonly deliveries: EventBuffer
  readonly resumeWindow: ResumeWindow
  /** An opener's. */
  readonly opening: Opening | undefined
}

/** What a frame may do to the stream as a whole. */
export interface StreamMoves {
  readonly state: StreamState
  /** The acceptor has taken the stream. */
  opened(): void
  acknowledged(received: number, limit: number): void
  consumed(byteCount: number): void
  suspend(): void
  resumed(): void
  ended(error: TunnelError): void
}

/** Reads the frames that come for one end of a stream. */
export class StreamFrames {
  readonly #parts: StreamParts
  readonly #stream: StreamMoves

  constructor(parts: StreamParts, stream: StreamMoves) {
    this.#parts = parts
    this.#stream = stream
  }

  get #isClosed(): boolean {
    return this.#stream.state === 'closed'
  }

  /** @throws {TunnelError} what the stream is to be reset with */
  dispatch(type: number, typeByte: number, frame: Uint8Array): void {
    const ends = (typeByte & frames.END_FLAG) !== 0
    const { receive, deliveries } = this.#parts
    switch (type) {
      case FrameType.DATA:
      case FrameType.AUX:
        return this.#data(type, typeByte, frame, ends)
      case FrameType.WINDOW: {
        const { received, limit } = frames.decodeWindow(frame)
        return this.#stream.acknowledged(received, limit)
      }
      case FrameType.ACCEPT:
        return this.#accept(frame, ends)
      case FrameType.EVENT:
        return this.#event(frame)
      case FrameType.END:
        receive.frame(frame.length, 0, true)
        return deliveries.ended()
      case FrameType.RESET:
        return this.#stream.ended(errorFromWire(frames.decodeJson(frame)))
      case FrameType.SUSPEND:
        return this.#stream.suspend()
      case FrameType.RESUMED:
        return this.#resumed(frame)
      default:
        throw new TunnelError('FRAME_INVALID', `a frame of type ${type} has no place on an open stream`, {
          hop: 'link',
        })
    }
  }

  #data(type: number, typeByte: number, frame: Uint8Array, ends: boolean): void {
    const { receive, deliveries } = this.#parts
    const bytes = frame.subarray(HEADER_BYTES)
    receive.frame(frame.length, bytes.length, ends)
    // Frames without payload are kept by nobody: no window would bound them.
    if (bytes.length > 0) {
      if (type === FrameType.DATA) deliveries.data(bytes)
      else deliveries.aux(bytes)
    }
    // Its consumer may have reset it.
    if (this.#isClosed) return
    if ((typeByte & frames.BLOCKED_FLAG) !== 0) receive.blocked()
    if (ends) deliveries.ended()
  }

  #event(frame: Uint8Array): void {
    const { receive, deliveries } = this.#parts
    const event = checkEvent(frames.decodeJson(frame))
    const heldBytes = deliveries.keeps ? frame.length - HEADER_BYTES : 0
    receive.frame(frame.length, heldBytes, false)
    // One of a kind that is not known is taken, and nobody is told.
    if (event === undefined) this.#stream.consumed(heldBytes)
    else deliveries.event(event, frame, () => this.#stream.consumed(heldBytes))
  }

  #accept(frame: Uint8Array, ends: boolean): void {
    const { receive, deliveries, opening, resumeWindow, send, path } = this.#parts
    if (opening === undefined || this.#stream.state !== 'opening') {
      throw new TunnelError('FRAME_INVALID', 'a second ACCEPT, or one from the opener', { hop: 'link' })
    }
    const { head: json, first } = frames.decodeHead(frame)
    const head = checkAcceptHead(json)
    receive.frame(frame.length, first.length, ends)
    this.#stream.opened()
    opening.answer()
    if (path.at === 'opening') path.answered()
    if (head.resumeMs !== undefined) resumeWindow.shorten(head.resumeMs)
    deliveries.accepted(head)
    if (first.length > 0) deliveries.data(first)
    if (ends) deliveries.ended()
    if (this.#isClosed) return
    this.#stream.acknowledged(send.acknowledgedOffset, Math.max(head.window, send.limit))
  }

  #resumed(frame: Uint8Array): void {
    const { path, send, resumeWindow, opening } = this.#parts
    // An OPEN that was sent again is answered like a RESUME when the first one arrived after all.
    const openAsked = opening?.sentAtMs !== undefined && !opening.answered
    if (path.at !== 'resuming' && !openAsked) {
      throw new TunnelError('FRAME_INVALID', 'RESUMED without a RESUME', { hop: 'link' })
    }
    const { received, limit } = checkResumed(frames.decodeJson(frame))
    send.resume(received, limit)
    path.answered()
    resumeWindow.stop()
    opening?.answer()
    this.#stream.resumed()
  }
}
