import type { Clock } from '../clock.ts'
import { checkAcceptHead, checkEvent, checkResumed } from '../codec/check-heads.ts'
import { errorFromWire, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType, HEADER_BYTES } from '../codec/frames.ts'
import type { AcceptHead, ResumedHead, ResumeHead, RoutedHead, StreamEvent } from '../codec/heads.ts'
import type { Link } from '../link/link.ts'
import type { ByteStream, StreamState } from './byte-stream.ts'
import { EventBuffer, type StreamHandlers } from './event-buffer.ts'
import { Opening } from './opening.ts'
import { ReceiveHalf, type ReceiveLimits } from './receive-half.ts'
import { ResumeWindow } from './resume-window.ts'
import { StreamSeat } from './seat.ts'
import { SendHalf } from './send-half.ts'

export interface StreamOptions {
  side: 'opener' | 'acceptor'
  head: RoutedHead
  limits: ReceiveLimits
  /** How long this end keeps the stream without a link, in ms. */
  resumeMs: number
  clock: Clock
  /** The opener's first bytes, and whether they are all: they ride on OPEN. */
  first?: Uint8Array | undefined
  firstEnds?: boolean
  /** Told once, when the stream is over. */
  onOver(stream: TunnelStream, error: TunnelError | undefined): void
  /** The stream has lost its path and wants another (opener). */
  onSuspended?(stream: TunnelStream): void
  /** It has its path again (opener). */
  onResumed?(stream: TunnelStream): void
  /** The acceptor does not know the stream (opener). Returns whether it goes on nevertheless. */
  onUnknown?(stream: TunnelStream, error: TunnelError): boolean
}

/** First bytes that ride on an ACCEPT, at most; the rest follows as DATA. */
const MAX_FIRST_BYTES = 16_384
/** The longest JSON of an event or a head; with MAX_FIRST_BYTES it fits the smallest window. */
const MAX_EVENT_BYTES = 49_000
/** With frames sent, no acknowledgement for this long, and a link that lives, the peer is broken. */
const NO_PROGRESS_MS = 120_000

const encoder = new TextEncoder()

/**
 * One end of a stream. It belongs to its opener's or acceptor's table and only visits links: a link that dies leaves
 * it suspended, with all that the peer may still lack, until the next link or the end of the resume window.
 */
export class TunnelStream implements ByteStream {
  readonly side: 'opener' | 'acceptor'
  readonly head: RoutedHead
  readonly #options: StreamOptions
  readonly #clock: Clock
  readonly #send: SendHalf
  readonly #receive: ReceiveHalf
  readonly #deliveries = new EventBuffer()
  #state: StreamState = 'opening'
  readonly #resumeWindow: ResumeWindow
  /** An opener's. */
  readonly #opening: Opening | undefined
  #port: StreamSeat | undefined
  #attempt: number
  /** RESUME is out, RESUMED not in: nothing may be sent. */
  #resuming = false
  #drainWanted = false
  #onFramed: (() => void) | undefined
  #progressAtMs = 0
  /** A frame is being delivered: what the consumer does meanwhile is told to the peer after it. */
  #delivering = false
  #lastLink: Link | undefined

  /** @throws {TunnelError} TOO_MANY_STREAMS when the user's memory budget is used up. */
  constructor(options: StreamOptions) {
    this.side = options.side
    this.head = options.head
    this.#options = options
    this.#clock = options.clock
    this.#resumeWindow = new ResumeWindow(options.clock, options.resumeMs, () => this.#expire())
    this.#attempt = options.head.attempt ?? 0
    this.#receive = new ReceiveHalf(options.limits)
    this.#send = new SendHalf(options.limits)
    if (options.side === 'acceptor') {
      this.#send.acknowledge(0, options.head.window)
      this.#deliverFirst(options)
    } else {
      this.#opening = new Opening(options.head, options.first, options.firstEnds === true)
      if (options.firstEnds === true) this.#send.endOnOpen()
      this.#resumeWindow.start()
    }
    // The options stay; they must not keep these as well.
    options.first = undefined
  }

  #deliverFirst({ first, firstEnds }: StreamOptions): void {
    if (first !== undefined && first.length > 0) this.#deliveries.data(first)
    if (firstEnds !== true) return
    this.#receive.endedOnOpen()
    this.#deliveries.ended()
  }

  get id(): string {
    return this.head.id
  }
  get state(): StreamState {
    return this.#state
  }
  /** Without a path to its peer, and waiting for one. */
  get suspended(): boolean {
    return this.#state !== 'closed' && (this.#port === undefined || this.#resuming)
  }
  get link(): Link | undefined {
    return this.#port?.link
  }
  /** The link on which the stream ended. */
  get lastLink(): Link | undefined {
    return this.#lastLink
  }
  /** The highest attempt seen (acceptor) or made (opener). */
  get attempt(): number {
    return this.#attempt
  }
  /** The acceptor is known to have had the OPEN. */
  get answered(): boolean {
    return this.#opening === undefined || this.#opening.answered
  }
  /** Since when an OPEN has been under way, by the clock; undefined while none has left. */
  get openedAtMs(): number | undefined {
    return this.#opening?.sentAtMs
  }
  /** The instance of the peer that the first OPEN was sent to. */
  get openedAt(): string | undefined {
    return this.#opening?.sentTo
  }
  /** Written or sent and not known to be safe at the peer, in bytes. */
  get heldBytes(): number {
    return this.#send.pendingBytes + this.#send.unacknowledgedBytes
  }
  get receivedOffset(): number {
    return this.#receive.received
  }
  get sentOffset(): number {
    return this.#send.sentOffset
  }
  get windowBytes(): number {
    return this.#receive.windowBytes
  }

  /** Says where arrivals go. What came before is kept, inside the window, and delivered now. */
  handle(handlers: StreamHandlers): void {
    this.#deliveries.handle(handlers)
  }

  /** The acceptor's answer, once; `first` are the first bytes of its direction, `end` says they are all. */
  accept(head: Partial<AcceptHead> = {}, first?: Uint8Array, end = false): void {
    if (this.side !== 'acceptor' || this.#state !== 'opening') return
    const answer: AcceptHead = {
      window: this.#receive.windowBytes,
      resumeMs: this.#resumeWindow.lengthMs,
      ...head,
    }
    const riding = first !== undefined && first.length <= MAX_FIRST_BYTES ? first : undefined
    const body = frames.encodeHead(FrameType.ACCEPT, 0, answer, riding).subarray(HEADER_BYTES)
    if (body.length > MAX_EVENT_BYTES + (riding?.length ?? 0)) {
      this.reset(new TunnelError('FRAME_TOO_LARGE', 'the head of the answer is too long'))
      return
    }
    this.#state = 'open'
    this.#send.write(FrameType.ACCEPT, body)
    if (first !== undefined && riding === undefined) this.#send.write(FrameType.DATA, first)
    if (end) this.#send.end()
    this.#port?.wake()
  }

  /**
   * Queues bytes, which are the stream's until they are framed (`whenFramed`). False: wait for `drained` before writing
   * more.
   */
  write(bytes: Uint8Array): boolean {
    return this.#write(FrameType.DATA, bytes)
  }

  /** The same for the second channel, such as a command's stderr. */
  writeAux(bytes: Uint8Array): boolean {
    return this.#write(FrameType.AUX, bytes)
  }

  #write(type: typeof FrameType.DATA | typeof FrameType.AUX, bytes: Uint8Array): boolean {
    if (this.#state === 'closed' || this.#send.endWritten) return true
    this.#send.write(type, bytes)
    this.#port?.wake()
    this.#drainWanted = this.#send.aboveHighWater
    return !this.#drainWanted
  }

  /** Calls back once, when all that was written has been copied into frames; never for a stream that ends before. */
  whenFramed(callback: () => void): void {
    if (this.#send.pendingBytes === 0) callback()
    else this.#onFramed = callback
  }

  /** In order with the data. One that is too long ends the stream with FRAME_TOO_LARGE. */
  event(event: StreamEvent): void {
    if (this.#state === 'closed' || this.#send.endWritten) return
    const bytes = encoder.encode(JSON.stringify(event))
    if (bytes.length > MAX_EVENT_BYTES)
      return this.reset(new TunnelError('FRAME_TOO_LARGE', 'the event is too long'))
    this.#send.write(FrameType.EVENT, bytes)
    this.#port?.wake()
  }

  /** No more from this side (half close). */
  end(bytes?: Uint8Array): void {
    if (this.#state === 'closed' || this.#send.endWritten) return
    if (bytes !== undefined) this.#send.write(FrameType.DATA, bytes)
    this.#send.end()
    this.#port?.wake()
  }

  /** The consumer has taken this many delivered bytes: the peer may send as many more. */
  consumed(byteCount: number): void {
    if (this.#state === 'closed') return
    this.#receive.consume(byteCount)
    this.#tell()
  }

  /** Over, both ways, now. The peer is told at once, or when it asks again. */
  reset(error: TunnelError): void {
    if (this.#state === 'closed') return
    const port = this.#port
    if (port?.numbered) port.send(frames.encodeJson(FrameType.RESET, port.number, error.toWire()))
    this.#finish(error)
  }

  // What follows is for the table that owns the stream, and for its port.

  /** The opener puts its OPEN on `link`, by priority; again when the acceptor says that it never had it. */
  openOn(link: Link): void {
    if (this.openedAtMs !== undefined) this.#attempt++
    if (this.#opening !== undefined) this.#opening.wanted = true
    this.#resuming = false
    this.#bind(new StreamSeat(this, link))
    this.#port?.wake()
  }

  /** The opener asks to go on over `link`; from now on nothing counts that an older link brings. */
  resumeOn(link: Link): void {
    this.#attempt++
    if (this.#opening !== undefined) this.#opening.wanted = false
    this.#resuming = true
    const port = new StreamSeat(this, link)
    this.#bind(port)
    // Also for one that moves from a link that lives: its answer may never come.
    this.#resumeWindow.start()
    port.send(frames.encodeJson(FrameType.RESUME, port.number, this.resumeHead()))
  }

  /** What RESUME says of this stream. */
  resumeHead(): ResumeHead {
    const { id, kind, machine, target, asked, priority, subject } = this.head
    const { received, limit } = this.#receive.tell()
    const head: ResumeHead = { id, kind, machine, received, limit, attempt: this.#attempt }
    const end = this.#send.endOffset
    if (end !== undefined) head.end = end
    if (target !== undefined) head.target = target
    if (asked !== undefined) head.asked = asked
    if (priority !== undefined) head.priority = priority
    // Of a stream that a proxy has opened itself: the acceptor holds it to that.
    if (subject !== undefined) head.subject = subject
    return head
  }

  /** What RESUMED says of it. */
  resumedHead(): ResumedHead {
    const head: ResumedHead = this.#receive.tell()
    const end = this.#send.endOffset
    if (end !== undefined) head.end = end
    return head
  }

  /** The acceptor's side of an OPEN: where its answers go. */
  acceptOn(link: Link, number: number): void {
    this.#bind(new StreamSeat(this, link, number))
  }

  /** The acceptor's answer to a RESUME (or a repeated OPEN) that has been authorised and is not stale. */
  resumedOn(link: Link, number: number, resume: Pick<ResumeHead, 'received' | 'limit' | 'attempt'>): void {
    const older = this.#port
    this.#attempt = resume.attempt
    // Frees the older path, relays included; an opener that moved has left it already.
    if (older !== undefined && !older.link.closed) {
      const moved = new TunnelError('TAKEN_OVER', 'the stream goes on elsewhere')
      older.send(frames.encodeJson(FrameType.RESET, older.number, moved.toWire()))
    }
    this.#bind(new StreamSeat(this, link, number))
    try {
      this.#send.resume(resume.received, resume.limit)
    } catch (error) {
      this.reset(error as TunnelError)
      return
    }
    this.#port?.send(frames.encodeJson(FrameType.RESUMED, number, this.resumedHead()))
    this.#goOn()
  }

  #goOn(): void {
    this.#deliveries.resumed()
    this.#port?.wake()
    this.#afterAcknowledgement()
  }

  #bind(port: StreamSeat): void {
    this.#port?.release()
    this.#port = port
    this.#progressAtMs = this.#clock.now()
    // An opener is safe only when the acceptor has answered; until then its window goes on running.
    if (this.side === 'acceptor' || !this.#resuming) this.#resumeWindow.stop()
  }

  /** The path is gone. */
  suspend(): void {
    this.#port?.release()
    this.#port = undefined
    if (this.#state === 'closed') return
    this.#resumeWindow.start()
    this.#deliveries.suspended()
    // Its consumer may have reset it.
    if (this.state !== 'closed') this.#options.onSuspended?.(this)
  }

  #expire(): void {
    const window = `${this.#resumeWindow.lengthMs / 1_000} s`
    this.reset(new TunnelError('RESUME_EXPIRED', `no path to the peer came back within ${window}`))
  }

  nextFrame(port: StreamSeat, maxDataBytes: number): Uint8Array | undefined {
    if (this.#opening?.wanted === true) return this.#openFrame(this.#opening, port)
    if (this.#resuming) return undefined
    const empty = this.#send.unacknowledgedBytes === 0
    const frame = this.#send.next(port.number, maxDataBytes)
    if (frame !== undefined && empty) this.#progressAtMs = this.#clock.now()
    if (this.#drainWanted && this.#send.belowLowWater) {
      this.#drainWanted = false
      this.#deliveries.drained()
    }
    if (this.#onFramed !== undefined && this.#send.pendingBytes === 0) {
      const onFramed = this.#onFramed
      this.#onFramed = undefined
      onFramed()
    }
    return frame
  }

  #openFrame(opening: Opening, port: StreamSeat): Uint8Array | undefined {
    try {
      const said = { window: this.#receive.windowBytes, attempt: this.#attempt }
      return opening.frame(port, said, this.#clock.now())
    } catch (error) {
      this.#finish(error as TunnelError)
      return undefined
    }
  }

  /** One frame from this stream's present port. @throws {TunnelError} what the stream is to be reset with */
  receive(type: number, typeByte: number, frame: Uint8Array): void {
    this.#delivering = true
    try {
      this.#dispatch(type, typeByte, frame)
    } finally {
      this.#delivering = false
    }
    this.#tell()
  }

  #dispatch(type: number, typeByte: number, frame: Uint8Array): void {
    const ends = (typeByte & frames.END_FLAG) !== 0
    switch (type) {
      case FrameType.DATA:
      case FrameType.AUX:
        return this.#receiveData(type, typeByte, frame, ends)
      case FrameType.WINDOW: {
        const { received, limit } = frames.decodeWindow(frame)
        return this.#acknowledged(received, limit)
      }
      case FrameType.ACCEPT:
        return this.#receiveAccept(frame, ends)
      case FrameType.EVENT: {
        const event = checkEvent(frames.decodeJson(frame))
        const heldBytes = this.#deliveries.keeps ? frame.length - HEADER_BYTES : 0
        this.#receive.frame(frame.length, heldBytes, false)
        // An event of a kind that is not known is taken, and nobody is told.
        if (event === undefined) return this.consumed(heldBytes)
        return this.#deliveries.event(event, frame, () => this.consumed(heldBytes))
      }
      case FrameType.END:
        this.#receive.frame(frame.length, 0, true)
        return this.#deliveries.ended()
      case FrameType.RESET:
        return this.#receiveReset(errorFromWire(frames.decodeJson(frame)))
      case FrameType.SUSPEND:
        return this.suspend()
      case FrameType.RESUMED:
        return this.#receiveResumed(frame)
      default:
        throw new TunnelError('FRAME_INVALID', `a frame of type ${type} has no place on an open stream`)
    }
  }

  #receiveData(type: number, typeByte: number, frame: Uint8Array, ends: boolean): void {
    const bytes = frame.subarray(HEADER_BYTES)
    this.#receive.frame(frame.length, bytes.length, ends)
    // Frames without payload are kept by nobody: no window would bound them.
    if (bytes.length > 0) {
      if (type === FrameType.DATA) this.#deliveries.data(bytes)
      else this.#deliveries.aux(bytes)
    }
    // Its consumer may have reset it.
    if (this.state === 'closed') return
    if ((typeByte & frames.BLOCKED_FLAG) !== 0) this.#receive.blocked()
    if (ends) this.#deliveries.ended()
  }

  #receiveAccept(frame: Uint8Array, ends: boolean): void {
    if (this.side !== 'opener' || this.#state !== 'opening') {
      throw new TunnelError('FRAME_INVALID', 'a second ACCEPT, or one from the opener')
    }
    const { head: json, first } = frames.decodeHead(frame)
    const head = checkAcceptHead(json)
    this.#receive.frame(frame.length, first.length, ends)
    this.#state = 'open'
    this.#opening?.answer()
    if (head.resumeMs !== undefined) this.#resumeWindow.shorten(head.resumeMs)
    this.#deliveries.accepted(head)
    if (first.length > 0) this.#deliveries.data(first)
    if (ends) this.#deliveries.ended()
    if (this.state === 'closed') return
    this.#acknowledged(this.#send.acknowledgedOffset, Math.max(head.window, this.#send.limit))
  }

  #receiveResumed(frame: Uint8Array): void {
    // An OPEN that was sent again is answered like a RESUME when the first one arrived after all.
    const asked = this.#resuming || (this.openedAtMs !== undefined && !this.answered)
    if (!asked) throw new TunnelError('FRAME_INVALID', 'RESUMED without a RESUME')
    const { received, limit } = checkResumed(frames.decodeJson(frame))
    this.#send.resume(received, limit)
    this.#resuming = false
    this.#resumeWindow.stop()
    this.#opening?.answer()
    this.#options.onResumed?.(this)
    this.#goOn()
  }

  #receiveReset(error: TunnelError): void {
    if (error.code === 'UNKNOWN_STREAM' && this.#resuming && this.#options.onUnknown?.(this, error)) return
    this.#finish(error)
  }

  #acknowledged(received: number, limit: number): void {
    if (this.#resuming) throw new TunnelError('FRAME_INVALID', 'a WINDOW comes before RESUMED')
    if (received > this.#send.acknowledgedOffset) this.#progressAtMs = this.#clock.now()
    this.#send.acknowledge(received, limit)
    this.#port?.wake()
    this.#afterAcknowledgement()
  }

  /** Tells the peer what is here and how far it may go: now when it matters, else soon. */
  #tell(): void {
    if (this.#delivering || this.#port === undefined || this.#resuming || this.#state === 'closed') return
    if (this.#receive.due) this.acknowledge()
    else if (!this.#receive.told) this.#port.acknowledgeLater()
  }

  /** Sends WINDOW now. */
  acknowledge(): void {
    const port = this.#port
    if (port === undefined || this.#resuming) return
    port.send(frames.encodeWindow(port.number, this.#receive.tell()))
    this.#afterAcknowledgement()
  }

  #afterAcknowledgement(): void {
    if (this.#send.done && this.#receive.ended && this.#receive.told) this.#finish(undefined)
  }

  /**
   * A peer that is there and acknowledges nothing is broken; a full window, acknowledged, is only slow. `readToMs`: all
   * that was sent before then has been read at the other end of the link, so what waits on the way is not meant.
   * Returns whether that is not known for long enough.
   */
  checkProgress(nowMs: number, readToMs: number): boolean {
    if (this.#resuming || this.#send.unacknowledgedBytes === 0) return false
    if (nowMs - this.#progressAtMs < NO_PROGRESS_MS) return false
    if (readToMs - this.#progressAtMs < NO_PROGRESS_MS) return true
    this.reset(new TunnelError('TIMEOUT', `the peer acknowledged nothing for ${NO_PROGRESS_MS / 1_000} s`))
    return false
  }

  #finish(error: TunnelError | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#resumeWindow.stop()
    const link = this.#port?.link
    this.#port?.release()
    this.#port = undefined
    this.#opening?.discard()
    this.#onFramed = undefined
    this.#send.release()
    this.#receive.release()
    this.#lastLink = link
    this.#options.onOver(this, error)
    this.#deliveries.closed(error)
  }
}
