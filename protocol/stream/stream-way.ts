import type { Clock } from '../clock.ts'
import { asTunnelError, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import { headText, type ResumeHead, type RoutedHead, resumeHeadOf } from '../codec/heads.ts'
import type { Link } from '../link/link.ts'
import { Acknowledger } from './acknowledger.ts'
import type { StreamState } from './byte-stream.ts'
import { EventBuffer } from './event-buffer.ts'
import { Opening } from './opening.ts'
import { Outgoing } from './outgoing.ts'
import { StreamPath } from './path.ts'
import { Progress } from './progress.ts'
import { ReceiveHalf } from './receive-half.ts'
import { ResumeWindow, type WindowOwner } from './resume-window.ts'
import { StreamSeat } from './seat.ts'
import { SendHalf } from './send-half.ts'
import { StreamFrames, type StreamMoves } from './stream-frames.ts'
import type { StreamOptions, StreamOwner } from './stream-options.ts'

/**
 * One end of a stream as its table, its seat and its peer see it. It belongs to its opener's or acceptor's table and
 * only visits links: a link that dies leaves it suspended, with all that the peer may still lack, until the next link
 * or the end of the resume window.
 */
export class StreamWay implements StreamMoves, WindowOwner {
  readonly side: 'opener' | 'acceptor'
  readonly head: RoutedHead
  readonly #owner: StreamOwner
  readonly #clock: Clock
  protected readonly send: SendHalf
  protected readonly outgoing: Outgoing
  protected readonly incoming: ReceiveHalf
  protected readonly deliveries = new EventBuffer()
  protected readonly resumeWindow: ResumeWindow
  /** An opener's. */
  protected readonly opening: Opening | undefined
  protected readonly path = new StreamPath()
  readonly #frames: StreamFrames
  #state: StreamState = 'opening'
  #attempt: number
  readonly #progress = new Progress()
  readonly #acknowledger: Acknowledger
  #lastLink: Link | undefined
  #endedResuming = false

  /** @throws {TunnelError} TOO_MANY_STREAMS when the user's memory budget is used up. */
  constructor(options: StreamOptions) {
    const { side, head, limits, resumeMs, clock, owner, first, firstEnds = false } = options
    this.side = side
    this.head = head
    this.#owner = owner
    this.#clock = clock
    this.resumeWindow = new ResumeWindow(clock, resumeMs, this)
    this.#attempt = head.attempt ?? 0
    this.incoming = new ReceiveHalf(limits)
    this.#acknowledger = new Acknowledger(this.incoming, this.path)
    this.send = new SendHalf(limits)
    this.outgoing = new Outgoing(this.send, this.deliveries)
    if (side === 'acceptor') {
      this.send.acknowledge(0, head.window)
      if (first !== undefined && first.length > 0) this.deliveries.data(first)
      if (firstEnds) {
        this.incoming.endedOnOpen()
        this.deliveries.ended()
      }
    } else {
      this.opening = new Opening(head, first, firstEnds)
      if (firstEnds) this.send.endOnOpen()
      this.resumeWindow.start()
    }
    const { path, send, incoming: receive, deliveries, resumeWindow, opening } = this
    this.#frames = new StreamFrames({ path, send, receive, deliveries, resumeWindow, opening }, this)
  }

  get id(): string {
    return this.head.id
  }
  get state(): StreamState {
    return this.#state
  }
  /** Without a path to its peer, and waiting for one. */
  get suspended(): boolean {
    const { at } = this.path
    return this.#state !== 'closed' && (at === 'none' || at === 'resuming')
  }
  get link(): Link | undefined {
    return this.path.link
  }
  /** The link on which the stream ended. */
  get lastLink(): Link | undefined {
    return this.#lastLink
  }
  /** Its peer has answered a RESUME with the stream's end. */
  get endedResuming(): boolean {
    return this.#endedResuming
  }
  /** The highest attempt seen (acceptor) or made (opener). */
  get attempt(): number {
    return this.#attempt
  }
  consumed(byteCount: number): void {
    if (this.#state === 'closed') return
    this.incoming.consume(byteCount)
    this.#tell()
  }

  /** The peer is told at once, or when it asks again. */
  reset(error: TunnelError): void {
    if (this.#state === 'closed') return
    const { seat } = this.path
    if (seat?.numbered) seat.send(frames.encodeJson(FrameType.RESET, seat.number, error.toWire()))
    this.#finish(error)
  }

  /** The acceptor has taken the stream. */
  opened(): void {
    this.#state = 'open'
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
    return resumeHeadOf(this.head, {
      ...this.incoming.tell(),
      attempt: this.#attempt,
      end: this.send.endOffset,
    })
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
    this.#owner.onResumed?.()
    this.#goOn()
  }

  /** The peer has ended the stream. */
  ended(error: TunnelError): void {
    const isResuming = this.path.at === 'resuming'
    const isUnknown = error.code === 'UNKNOWN_STREAM' && isResuming
    if (isUnknown && this.#owner.onUnknown?.(error) === true) return
    this.#endedResuming = isResuming
    this.#finish(error)
  }

  #goOn(): void {
    this.deliveries.resumed(this.send.unacknowledgedBytes)
    this.path.seat?.wake()
    this.#afterAcknowledgement()
  }

  #moved(): void {
    this.#progress.made(this.#clock.now())
    // An opener is safe only when the acceptor has answered; until then its window goes on running.
    if (this.path.at !== 'resuming') this.resumeWindow.stop()
  }

  /** The path is gone. */
  suspend(): void {
    this.path.lose()
    if (this.#state === 'closed') return
    this.resumeWindow.start()
    this.deliveries.suspended()
    // Its consumer may have reset it.
    if (this.state !== 'closed') this.#owner.onSuspended?.()
  }

  get hasPeer(): boolean {
    return this.#owner.hasLink?.() === true
  }

  expired(): void {
    const window = `${this.resumeWindow.lengthMs / 1_000} s`
    this.reset(
      new TunnelError('RESUME_EXPIRED', `no path to the peer came back within ${window}`, { hop: 'link' }),
    )
  }

  nextFrame(seat: StreamSeat, maxDataBytes: number): Uint8Array | undefined {
    if (this.path.wantsOpen) return this.#openFrame(seat)
    if (this.path.at === 'resuming') return undefined
    const empty = this.send.unacknowledgedBytes === 0
    const frame = this.outgoing.next(seat.number, maxDataBytes)
    if (frame !== undefined && empty) this.#progress.made(this.#clock.now())
    return frame
  }

  #openFrame(seat: StreamSeat): Uint8Array | undefined {
    try {
      const said = { window: this.incoming.windowBytes, attempt: this.#attempt }
      const frame = this.opening?.frame(seat, said, this.#clock.now())
      this.path.openSent()
      return frame
    } catch (error) {
      this.#finish(error as TunnelError)
      return undefined
    }
  }

  /** One frame from this stream's present seat. @throws {TunnelError} what the stream is to be reset with */
  receive(type: number, typeByte: number, frame: Uint8Array): void {
    this.#acknowledger.delivering = true
    try {
      this.#frames.dispatch(type, typeByte, frame)
    } finally {
      this.#acknowledger.delivering = false
    }
    this.#tell()
  }

  /** The peer has all up to `received`, and lets us go to `limit`. @throws {TunnelError} FRAME_INVALID */
  acknowledged(received: number, limit: number): void {
    if (this.path.at === 'resuming')
      throw new TunnelError('FRAME_INVALID', 'a WINDOW comes before RESUMED', { hop: 'link' })
    if (received > this.send.acknowledgedOffset) this.#progress.made(this.#clock.now())
    this.send.acknowledge(received, limit)
    this.path.seat?.wake()
    this.#afterAcknowledgement()
  }

  /** Tells the peer what is here and how far it may go: now when it matters, else soon. */
  #tell(): void {
    if (this.#acknowledger.tell()) this.#afterAcknowledgement()
  }

  /** Sends WINDOW now. */
  acknowledge(): void {
    if (this.#acknowledger.now()) this.#afterAcknowledgement()
  }

  #afterAcknowledgement(): void {
    if (this.send.done && this.incoming.ended && this.incoming.told) this.#finish(undefined)
  }

  /** As `LinkChannel.tick`. */
  checkProgress(nowMs: number, readToMs: number): boolean {
    if (this.path.at === 'resuming' || this.send.unacknowledgedBytes === 0) return false
    try {
      return this.#progress.check(nowMs, readToMs)
    } catch (error) {
      this.reset(asTunnelError(error, 'link'))
      return false
    }
  }

  #finish(error: TunnelError | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.resumeWindow.stop()
    this.#lastLink = this.path.link
    this.path.lose()
    this.opening?.discard()
    this.outgoing.release()
    this.incoming.release()
    this.#owner.onOver(error)
    this.deliveries.closed(error)
  }
}
