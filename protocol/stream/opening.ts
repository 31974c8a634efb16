import { TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import { headText, type RoutedHead } from '../codec/heads.ts'
import type { StreamSeat } from './seat.ts'

/** An opener's OPEN, kept until it has been answered: it may have to go out again. */
export class Opening {
  readonly #head: RoutedHead
  readonly #firstEnds: boolean
  #first: Uint8Array | undefined
  #answered = false
  #sentAtMs: number | undefined
  #sentTo: string | undefined

  /** @param first bytes that ride on OPEN; with `firstEnds` they are all */
  constructor(head: RoutedHead, first: Uint8Array | undefined, firstEnds: boolean) {
    this.#head = head
    this.#first = first
    this.#firstEnds = firstEnds
  }

  /** The acceptor is known to have had it. */
  get answered(): boolean {
    return this.#answered
  }
  /** Since when the first one has been under way, by the clock; undefined while none has left. */
  get sentAtMs(): number | undefined {
    return this.#sentAtMs
  }
  /** The instance of the peer that the first one was sent to. */
  get sentTo(): string | undefined {
    return this.#sentTo
  }

  /**
   * The frame, from now on under way.
   * @throws {TunnelError} FRAME_TOO_LARGE: its link would end for it, and the next one, and so on.
   */
  frame(seat: StreamSeat, more: Pick<RoutedHead, 'window' | 'attempt'>, nowMs: number): Uint8Array {
    const type = this.#firstEnds ? FrameType.OPEN | frames.END_FLAG : FrameType.OPEN
    const frame = frames.encodeHeadText(type, 0, headText(Object.assign({}, this.#head, more)), this.#first)
    if (frames.isStartTooLarge(frame, seat.link.maxFrameBytes)) {
      throw new TunnelError('FRAME_TOO_LARGE', "the stream's head is too long", { hop: 'link' })
    }
    frames.setStreamNumber(frame, seat.number)
    if (this.#sentAtMs === undefined) {
      this.#sentAtMs = nowMs
      this.#sentTo = seat.link.peer?.instance
    }
    return frame
  }

  answer(): void {
    this.#answered = true
    this.discard()
  }

  /** Its bytes are needed no more. */
  discard(): void {
    this.#first = undefined
  }
}
