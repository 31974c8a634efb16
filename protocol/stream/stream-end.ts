import type { Clock } from '../clock.ts'
import { asTunnelError, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import type { RoutedHead } from '../codec/heads.ts'
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
import { SendHalf } from './send-half.ts'
import type { StreamOptions, StreamOwner } from './stream-options.ts'

/** One end of a stream, wherever its path leads: its two halves, what the peer is told of them, and how it is over. */
export class StreamEnd implements WindowOwner {
  readonly side: 'opener' | 'acceptor'
  readonly head: RoutedHead
  protected readonly owner: StreamOwner
  protected readonly send: SendHalf
  protected readonly outgoing: Outgoing
  protected readonly incoming: ReceiveHalf
  protected readonly deliveries = new EventBuffer()
  protected readonly resumeWindow: ResumeWindow
  /** An opener's. */
  protected readonly opening: Opening | undefined
  protected readonly path = new StreamPath()
  protected readonly acknowledger: Acknowledger
  readonly #clock: Clock
  readonly #progress = new Progress()
  #state: StreamState = 'opening'
  #lastLink: Link | undefined

  /** @throws {TunnelError} TOO_MANY_STREAMS when the user's memory budget is used up. */
  constructor(options: StreamOptions) {
    const { side, head, limits, resumeMs, clock, owner, first, firstEnds = false } = options
    this.side = side
    this.head = head
    this.owner = owner
    this.#clock = clock
    this.resumeWindow = new ResumeWindow(clock, resumeMs, this)
    this.incoming = new ReceiveHalf(limits)
    this.acknowledger = new Acknowledger(this.incoming, this.path)
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
  }

  get id(): string {
    return this.head.id
  }
  get state(): StreamState {
    return this.#state
  }
  get link(): Link | undefined {
    return this.path.link
  }
  /** The link on which the stream ended. */
  get lastLink(): Link | undefined {
    return this.#lastLink
  }
  protected get isClosed(): boolean {
    return this.#state === 'closed'
  }
  protected get nowMs(): number {
    return this.#clock.now()
  }

  /** The acceptor has taken the stream. */
  opened(): void {
    this.#state = 'open'
  }

  consumed(byteCount: number): void {
    if (this.isClosed) return
    this.incoming.consume(byteCount)
    this.tell()
  }

  /** The peer has all up to `received`, and lets us go to `limit`. @throws {TunnelError} FRAME_INVALID */
  acknowledged(received: number, limit: number): void {
    if (this.path.at === 'resuming')
      throw new TunnelError('FRAME_INVALID', 'a WINDOW comes before RESUMED', { hop: 'link' })
    if (received > this.send.acknowledgedOffset) this.madeProgress()
    this.send.acknowledge(received, limit)
    this.path.seat?.wake()
    this.endIfDone()
  }

  /** Tells the peer what is here and how far it may go: now when it matters, else soon. */
  protected tell(): void {
    if (this.acknowledger.tell()) this.endIfDone()
  }

  /** Sends WINDOW now. */
  acknowledge(): void {
    if (this.acknowledger.now()) this.endIfDone()
  }

  protected madeProgress(): void {
    this.#progress.made(this.nowMs)
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

  get hasPeer(): boolean {
    return this.owner.hasLink?.() === true
  }

  expired(): void {
    const window = `${this.resumeWindow.lengthMs / 1_000} s`
    this.reset(
      new TunnelError('RESUME_EXPIRED', `no path to the peer came back within ${window}`, { hop: 'link' }),
    )
  }

  /** The peer is told at once, or when it asks again. */
  reset(error: TunnelError): void {
    if (this.isClosed) return
    const { seat } = this.path
    if (seat?.numbered) seat.send(frames.encodeJson(FrameType.RESET, seat.number, error.toWire()))
    this.finish(error)
  }

  /** Both directions have ended, and both ends know. */
  protected endIfDone(): void {
    if (this.send.done && this.incoming.ended && this.incoming.told) this.finish(undefined)
  }

  protected finish(error: TunnelError | undefined): void {
    if (this.isClosed) return
    this.#state = 'closed'
    this.resumeWindow.stop()
    this.#lastLink = this.path.link
    this.path.lose()
    this.opening?.discard()
    this.outgoing.release()
    this.incoming.release()
    this.owner.onOver(error)
    this.deliveries.closed(error)
  }
}
