import { checkResumed } from '../codec/check-answers.ts'
import { errorFromWire, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import { headText, type Priority, type ResumeHead, type RoutedHead } from '../codec/heads.ts'
import type { IncomingOpen, IncomingResume } from '../link/handlers.ts'
import type { Link } from '../link/link.ts'
import type { Pace } from './pace.ts'
import { RelayDirection } from './relay-direction.ts'
import { checkCrosses } from './relay-frames.ts'
import { RelayLeg } from './relay-leg.ts'
import { incomingCost, type RelayMemory } from './relay-memory.ts'

export interface RelayOptions {
  /** Bounds what waits for slow links. How large a stream's window is, is for its two ends to say. */
  memory: RelayMemory
  /** Holds back credit for what its user owes. @default everything passes as it comes */
  pace?: Pace | undefined
  /** Whether the acceptor's link brings streams of other users too; a link between replicas always does. @default no */
  isShared?(): boolean
  /**
   * Told once, when the relay has nothing more to do with the stream. `isOver`: the stream itself has ended, by `error`
   * or in order; otherwise it goes on through whatever relay its opener asks next.
   */
  onOver?(error: TunnelError | undefined, isOver: boolean): void
  /** The acceptor has taken the stream: ACCEPT passes, or a RESUMED after which more follows. */
  onAnswered?(): void
  /** Bytes of payload that went through: `up` from the opener, `down` to it. */
  onBytes?(direction: 'up' | 'down', byteCount: number): void
}

/**
 * Joins two links for a stream that ends in neither: frames cross with another number and nothing else changed. It
 * answers for nobody and keeps nothing that a restart would lose; when one side's link goes, the other is told
 * SUSPEND, and the stream finds its way through whatever relay its opener asks next.
 */
export class Relay {
  readonly #options: RelayOptions
  /** What rides on the OPEN that is passed on; undefined for a RESUME. Not kept beyond that. */
  #riding: Pick<IncomingOpen, 'first' | 'ends'> | undefined
  readonly #opener: RelayLeg
  readonly #up = new RelayDirection()
  readonly #down = new RelayDirection()
  #acceptor: RelayLeg | undefined
  /** What a RESET said that came before there was anybody to pass it on to. */
  #givenUp: TunnelError | undefined
  /** Of the user's memory. */
  #takenBytes: number
  #over = false

  /**
   * Takes the place of `incoming` at once; `connect` follows when it has been authorised.
   * @throws {TunnelError} TOO_MANY_STREAMS when the user's memory has no room for it
   */
  constructor(incoming: IncomingOpen | IncomingResume, options: RelayOptions) {
    this.#options = options
    this.#takenBytes = incomingCost(incoming)
    options.memory.take(this.#takenBytes)
    this.#opener = this.#newLeg(incoming.link, incoming.head.priority, incoming.number)
    if ('first' in incoming) {
      this.#riding = { first: incoming.first, ends: incoming.ends }
      if (incoming.ends) this.#up.end = 0
    } else {
      this.#down.offset = incoming.head.received
      this.#down.acknowledged = incoming.head.received
      this.#up.end = incoming.head.end
    }
  }

  #newLeg(link: Link, priority: Priority = 'normal', number?: number): RelayLeg {
    return new RelayLeg({
      link,
      priority,
      number,
      memory: this.#options.memory,
      onFrame: (leg, typeByte, frame) => this.#pass(leg, typeByte, frame),
      onBroken: (leg, error) => this.#broken(leg, error),
      onClosed: (leg) => this.#closed(leg),
    })
  }

  get over(): boolean {
    return this.#over
  }
  /** It has been passed on. */
  get connected(): boolean {
    return this.#acceptor !== undefined
  }

  get #isDone(): boolean {
    return this.#up.done && this.#down.done
  }

  /** Passes the stream on over `link`; `head` is what its OPEN or RESUME says there. */
  connect(link: Link, head: RoutedHead | ResumeHead): void {
    if (this.#over) return
    const leg = this.#newLeg(link, head.priority)
    this.#acceptor = leg
    const firstBytes = this.#riding?.first.length ?? 0
    const start = this.#startFrame(head)
    // What was short enough may have grown here, and must not end the link of everybody else's streams.
    if (frames.isStartTooLarge(start, link.maxFrameBytes)) return this.reset(tooLarge())
    leg.start(start, this.#opener.link)
    this.#options.memory.give(firstBytes)
    this.#takenBytes -= firstBytes
    const error = this.#givenUp
    if (error === undefined) return
    leg.queue(frames.encodeJson(FrameType.RESET, 0, error.toWire()), this.#opener.link)
    this.#finish(error, true)
  }

  #startFrame(head: RoutedHead | ResumeHead): Uint8Array {
    const riding = this.#riding
    this.#riding = undefined
    if (riding === undefined) return frames.encodeText(FrameType.RESUME, 0, headText(head))
    const type = riding.ends ? FrameType.OPEN | frames.END_FLAG : FrameType.OPEN
    return frames.encodeHeadText(type, 0, headText(head), riding.first)
  }

  /** Ends the stream, towards both sides. */
  reset(error: TunnelError): void {
    if (this.#over) return
    this.#opener.reset(error)
    this.#acceptor?.reset(error)
    this.#finish(error, true)
  }

  /** Its opener has given the stream up before the relay was there: whoever has it is told when there is a path. */
  giveUp(error: TunnelError): void {
    if (this.#over) return
    if (this.#acceptor !== undefined) return this.reset(error)
    this.#giveUpEarly(error)
  }

  /** There is no path for the stream now: its opener keeps it and asks again. */
  suspend(): void {
    if (this.#over) return
    this.#opener.suspend()
    this.#acceptor?.suspend()
    this.#finish(undefined, false)
  }

  #pass(from: RelayLeg, typeByte: number, frame: Uint8Array): void {
    if (this.#over) return
    const type = typeByte & frames.TYPE_MASK
    const fromOpener = from === this.#opener
    checkCrosses(type, fromOpener)
    const to = fromOpener ? this.#acceptor : this.#opener
    if (to === undefined) return this.#early(type, frame)
    if (frame.length > to.link.maxFrameBytes) throw tooLarge()
    this.#observe(fromOpener, type, typeByte, frame)
    const error = type === FrameType.RESET ? resetOf(frame) : undefined
    const { pace } = this.#options
    const isPaced = type === FrameType.WINDOW && pace !== undefined
    const passed = isPaced ? (fromOpener ? this.#down : this.#up).paced(pace, frame, to) : frame
    const isShared = this.#isShared(from)
    to.queue(passed, isShared ? undefined : from.link)
    // It has left its place, and may ask for another stream in the next frame.
    if (error !== undefined) from.release()
    const isOver = error !== undefined || this.#isDone
    if (isOver || type === FrameType.SUSPEND) this.#finish(error, isOver)
    else if (isShared && frames.isCounted(type) && this.#options.memory.isOverfull) this.suspend()
  }

  /** One user who reads too slowly must not hold up what others have on a link: it would not be read for any of them. */
  #isShared(from: RelayLeg): boolean {
    if (from.link.peer?.role === 'relay') return true
    return from !== this.#opener && this.#options.isShared?.() === true
  }

  /** Nothing but the end of its opener's interest, or way, can come before the stream has been passed on. */
  #early(type: number, frame: Uint8Array): void {
    if (type === FrameType.SUSPEND) return this.#finish(undefined, false)
    if (type !== FrameType.RESET)
      throw new TunnelError('FRAME_INVALID', 'a frame comes before the answer', { hop: 'link' })
    this.#giveUpEarly(resetOf(frame))
  }

  #giveUpEarly(error: TunnelError): void {
    // An OPEN that was not passed on is forgotten; what a RESUME names lives elsewhere and must hear of it.
    if (this.#riding !== undefined) return this.#finish(error, true)
    this.#givenUp = error
    // Its opener has done with it, and wants the place for another; if it goes, it says so again on its next link.
    this.#opener.stepBack()
  }

  #observe(fromOpener: boolean, type: number, typeByte: number, frame: Uint8Array): void {
    const [own, other] = fromOpener ? [this.#up, this.#down] : [this.#down, this.#up]
    if (frames.isCounted(type)) {
      own.offset += frame.length
      if (type === FrameType.END || (typeByte & frames.END_FLAG) !== 0) own.end = own.offset
      if (type === FrameType.DATA || type === FrameType.AUX) {
        this.#options.onBytes?.(fromOpener ? 'up' : 'down', frame.length - frames.HEADER_BYTES)
      } else if (type === FrameType.ACCEPT) this.#options.onAnswered?.()
    } else if (type === FrameType.WINDOW) {
      other.acknowledged = frames.decodeWindow(frame).received
    } else if (type === FrameType.RESUMED) {
      const { received, end } = checkResumed(frames.decodeJson(frame))
      other.offset = received
      other.acknowledged = received
      own.end = end
      // Nothing is left to pass: its opener only says once more how the stream ended.
      if (!this.#isDone) this.#options.onAnswered?.()
    }
  }

  /** A peer that breaks the rules loses this stream, and the other side hears why. */
  #broken(from: RelayLeg, error: TunnelError): void {
    if (this.#over) return
    from.reset(error)
    const to = from === this.#opener ? this.#acceptor : this.#opener
    to?.reset(error)
    this.#finish(error, true)
  }

  #closed(leg: RelayLeg): void {
    if (this.#over) return
    const other = leg === this.#opener ? this.#acceptor : this.#opener
    other?.suspend()
    this.#finish(undefined, false)
  }

  /** What is queued still leaves; then the numbers are free. */
  #finish(error: TunnelError | undefined, isOver: boolean): void {
    this.#over = true
    this.#riding = undefined
    this.#options.memory.give(this.#takenBytes)
    const { pace } = this.#options
    if (pace !== undefined) for (const direction of [this.#up, this.#down]) direction.forget(pace)
    this.#opener.leaveWhenSent()
    this.#acceptor?.leaveWhenSent()
    this.#options.onOver?.(error, isOver)
  }
}

function resetOf(frame: Uint8Array): TunnelError {
  return errorFromWire(frames.decodeJson(frame))
}

function tooLarge(): TunnelError {
  return new TunnelError('FRAME_TOO_LARGE', 'a frame is too long for the other side of a relay', {
    hop: 'link',
  })
}
