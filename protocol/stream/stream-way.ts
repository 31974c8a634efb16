import { TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import { headText, type ResumeHead, resumeHeadOf } from '../codec/heads.ts'
import type { Link } from '../link/link.ts'
import { StreamSeat } from './seat.ts'
import { StreamEnd } from './stream-end.ts'
import { StreamFrames, type StreamMoves } from './stream-frames.ts'
import type { StreamOptions } from './stream-options.ts'

/**
 * One end of a stream on its way over links. It belongs to its opener's or acceptor's table and only visits them: a link
 * that dies leaves it suspended, with all that the peer may still lack, until the next link or the end of the resume
 * window.
 */
export class StreamWay extends StreamEnd implements StreamMoves {
  readonly #frames: StreamFrames
  #attempt: number
  #endedResuming = false

  /** @throws {TunnelError} TOO_MANY_STREAMS when the user's memory budget is used up. */
  constructor(options: StreamOptions) {
    super(options)
    this.#attempt = options.head.attempt ?? 0
    const { path, send, incoming: receive, deliveries, resumeWindow, opening } = this
    this.#frames = new StreamFrames({ path, send, receive, deliveries, resumeWindow, opening }, this)
  }

  /** Without a path to its peer, and waiting for one. */
  get suspended(): boolean {
    const { at } = this.path
    return !this.isClosed && (at === 'none' || at === 'resuming')
  }
  /** Its peer has answered a RESUME with the stream's end. */
  get endedResuming(): boolean {
    return this.#endedResuming
  }
  /** The highest attempt seen (acceptor) or made (opener). */
  get attempt(): number {
    return this.#attempt
  }

  /** The opener puts its OPEN on `link`, by priority; again when the acceptor says that it never had it. */
  openOn(link: Link): void {
    if (this.opening?.sentAtMs !== undefined) this.#attempt++
    this.path.open(new StreamSeat(this, link))
    this.#moved()
    this.path.seat?.wake()
  }

  /** The opener asks to go on over `link`; from now on nothing counts that an older link brings. */
  resumeOn(link: Link): void {
    this.#attempt++
    const seat = new StreamSeat(this, link)
    this.path.resume(seat)
    this.#moved()
    // Also for one that moves from a link that lives: its answer may never come.
    this.resumeWindow.start()
    seat.send(frames.encodeText(FrameType.RESUME, seat.number, headText(this.resumeHead())))
  }

  /** What RESUME says of this stream. */
  resumeHead(): ResumeHead {
    const { received, limit } = this.incoming.tell()
    return resumeHeadOf(this.head, { received, limit, attempt: this.#attempt, end: this.send.endOffset })
  }

  /** The acceptor's side of an OPEN: where its answers go. */
  acceptOn(link: Link, number: number): void {
    this.path.stand(new StreamSeat(this, link, number))
    this.#moved()
  }

  /** The acceptor's answer to a RESUME (or a repeated OPEN) that has been authorised and is not stale. */
  resumedOn(link: Link, number: number, resume: Pick<ResumeHead, 'received' | 'limit' | 'attempt'>): void {
    const older = this.path.seat
    this.#attempt = resume.attempt
    // Frees the older path, relays included; an opener that moved has left it already.
    if (older !== undefined && !older.link.closed) {
      const moved = new TunnelError('TAKEN_OVER', 'the stream goes on elsewhere', { hop: 'link' })
      older.send(frames.encodeJson(FrameType.RESET, older.number, moved.toWire()))
    }
    this.acceptOn(link, number)
    try {
      this.send.resume(resume.received, resume.limit)
    } catch (error) {
      return this.reset(error as TunnelError)
    }
    const resumed = { ...this.incoming.tell(), end: this.send.endOffset }
    this.path.seat?.send(frames.encodeJson(FrameType.RESUMED, number, resumed))
    this.#goOn()
  }

  /** The peer has taken the stream back (opener). */
  resumed(): void {
    this.owner.onResumed?.()
    this.#goOn()
  }

  #goOn(): void {
    this.deliveries.resumed(this.send.unacknowledgedBytes)
    this.path.seat?.wake()
    this.endIfDone()
  }

  #moved(): void {
    this.madeProgress()
    // An opener is safe only when the acceptor has answered; until then its window goes on running.
    if (this.path.at !== 'resuming') this.resumeWindow.stop()
  }

  /** The path is gone. */
  suspend(): void {
    this.path.lose()
    if (this.isClosed) return
    this.resumeWindow.start()
    this.deliveries.suspended()
    // Its consumer may have reset it.
    if (!this.isClosed) this.owner.onSuspended?.()
  }

  /** The peer has ended the stream. */
  ended(error: TunnelError): void {
    const isResuming = this.path.at === 'resuming'
    const isUnknown = error.code === 'UNKNOWN_STREAM' && isResuming
    if (isUnknown && this.owner.onUnknown?.(error) === true) return
    this.#endedResuming = isResuming
    this.finish(error)
  }

  nextFrame(seat: StreamSeat, maxDataBytes: number): Uint8Array | undefined {
    if (this.path.wantsOpen) return this.#openFrame(seat)
    if (this.path.at === 'resuming') return undefined
    const empty = this.send.unacknowledgedBytes === 0
    const frame = this.outgoing.next(seat.number, maxDataBytes)
    if (frame !== undefined && empty) this.madeProgress()
    return frame
  }

  #openFrame(seat: StreamSeat): Uint8Array | undefined {
    try {
      const said = { window: this.incoming.windowBytes, attempt: this.#attempt }
      const frame = this.opening?.frame(seat, said, this.nowMs)
      this.path.openSent()
      return frame
    } catch (error) {
      this.finish(error as TunnelError)
      return undefined
    }
  }

  /** One frame from this stream's present seat. @throws {TunnelError} what the stream is to be reset with */
  receive(type: number, typeByte: number, frame: Uint8Array): void {
    this.acknowledger.delivering = true
    try {
      this.#frames.dispatch(type, typeByte, frame)
    } finally {
      this.acknowledger.delivering = false
    }
    this.tell()
  }
}
