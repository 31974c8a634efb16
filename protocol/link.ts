import { type Clock, systemClock } from './clock.ts'
import {
  asTunnelError,
  errorFromClose,
  errorFromWire,
  isDuration,
  TunnelError,
  type WireError,
} from './errors.ts'
import * as frames from './frames.ts'
import { FrameType, HEADER_BYTES } from './frames.ts'
import { checkResumeHead, checkStreamHead, type ResumeHead, type StreamHead } from './heads.ts'
import { Heartbeat } from './heartbeat.ts'
import { checkHello, type Hello, stricterHeartbeat } from './hello.ts'
import { type FrameSource, Scheduler } from './scheduler.ts'
import { TokenBucket } from './token-bucket.ts'
import type { Transport } from './transport.ts'

/** What stands behind a stream number of a link: one end of a stream, or one leg of a relay. */
export interface LinkChannel extends FrameSource {
  frame(typeByte: number, frame: Uint8Array): void
  /** Sends its acknowledgement, if one is owed. */
  acknowledge(): void
  /** `readToMs`: the peer has read all that was sent before. Returns whether it should be asked for a later one. */
  tick(nowMs: number, readToMs: number): boolean
  linkClosed(): void
}

export interface Goaway extends WireError {
  /** The link closes by itself after this many ms. */
  deadlineMs: number
}

/** A peer's wish for a stream. Whoever handles it binds its number, or refuses, before it returns. */
export interface IncomingOpen {
  link: Link
  number: number
  head: StreamHead
  /** First bytes of data that rode on OPEN. */
  first: Uint8Array
  /** They are all: END rode on OPEN too. */
  ends: boolean
}

export interface IncomingResume {
  link: Link
  number: number
  head: ResumeHead
}

export interface LinkHandlers {
  /**
   * The peer has said HELLO, and has ours or gets it now: frames may flow. A listener may return a promise; its own
   * HELLO leaves when that resolves, and what it rejects with ends the link.
   */
  ready?(peer: Hello): void | Promise<void>
  open?(open: IncomingOpen): void
  resume?(resume: IncomingResume): void
  auth?(token: string): void
  goaway?(goaway: Goaway): void
  /** Once. The channels on it have been told before. */
  closed?(error: TunnelError): void
}

export interface LinkOptions {
  transport: Transport
  /** Whether we dialled: the dialler speaks first and has the odd numbers. */
  dialler: boolean
  hello: Hello
  handlers: LinkHandlers
  clock?: Clock
}

/** Unsent bytes below which another frame is handed to the transport: what a keystroke may have to wait behind. */
const LOW_MARK_BYTES = 131_072
/** Unsent bytes above which we stop reading: a peer that asks and does not read gets no more answers. */
const HIGH_MARK_BYTES = 2_097_152
/** DATA payload while small frames of other streams share the link, in bytes. */
const SHARED_DATA_BYTES = 16_384
/** A frame below this, in bytes, makes a stream interactive; for INTERACTIVE_MS after it. */
const SMALL_FRAME_BYTES = 1_024
const INTERACTIVE_MS = 500
/** How long an acknowledgement that matters to nobody yet may wait for company, in ms. */
const ACKNOWLEDGE_MS = 100
/** How long a peer has for its HELLO, in ms. */
const HELLO_MS = 10_000
/** Resumes a second that one link may ask for, beyond a burst of RESUME_BURST_FACTOR for each stream it may have. */
const RESUMES_PER_SECOND = 50
const RESUME_BURST_FACTOR = 3

/** One WebSocket with its frames: HELLO, liveness, the table of stream numbers, and whose frame goes next. */
export class Link {
  readonly #transport: Transport
  readonly #dialler: boolean
  readonly #hello: Hello
  readonly #handlers: LinkHandlers
  readonly #clock: Clock
  readonly #heartbeat: Heartbeat
  readonly #scheduler = new Scheduler()
  /** Everything that stands on this link, with a number or still without. */
  readonly #members = new Set<LinkChannel>()
  readonly #channels = new Map<number, LinkChannel>()
  readonly #acknowledgements = new Set<LinkChannel>()
  readonly #resumes: TokenBucket
  /** Resolves when the connection beneath has ended: nothing that was sent can be on its way out any more. */
  readonly gone: Promise<void>
  #onGone: () => void = () => {}
  #acknowledgeTimer: unknown
  #helloTimer: unknown
  /** Set when the link is to close as soon as nothing stands on it. */
  #idleTimer: unknown
  #peer: Hello | undefined
  /** Our HELLO has left; nothing goes before it. */
  #greeted = false
  readonly #beforeHello: Uint8Array[] = []
  #nextNumber: number
  #peerNumber = 0
  #peerStreams = 0
  #pumping = false
  #reading = true
  #held = false
  #closedWith: TunnelError | undefined
  #closing: TunnelError | undefined
  /** When the last PING that was answered had been sent. */
  #readToMs = Number.NEGATIVE_INFINITY
  #rttMs: number | undefined
  #interactiveUntilMs = 0

  constructor(options: LinkOptions) {
    this.gone = new Promise((resolve) => {
      this.#onGone = resolve
    })
    this.#transport = options.transport
    this.#dialler = options.dialler
    this.#hello = options.hello
    this.#handlers = options.handlers
    this.#clock = options.clock ?? systemClock
    this.#nextNumber = options.dialler ? 1 : 2
    const maxStreams = options.hello.limits.maxStreams
    this.#resumes = new TokenBucket(this.#clock, RESUMES_PER_SECOND, 512 + RESUME_BURST_FACTOR * maxStreams)
    this.#heartbeat = new Heartbeat(
      {
        ping: () => this.#ping(),
        lost: (silentMs) => this.#lost(silentMs),
        beat: (now) => this.#beat(now),
        listening: () => !this.#held,
      },
      this.#clock,
      options.hello.heartbeat,
    )
    this.#transport.receiver = {
      message: (frame) => this.#message(frame),
      text: () => this.#fail(new TunnelError('FRAME_INVALID', 'text messages are not spoken here')),
      drained: () => this.#drained(),
      closed: (code, reason) => this.#transportClosed(code, reason),
    }
    this.#helloTimer = this.#clock.setTimer(() => {
      this.#fail(new TunnelError('TIMEOUT', `no HELLO came within ${HELLO_MS / 1_000} s`))
    }, HELLO_MS)
    if (this.#dialler) this.#sendHello()
  }

  get peer(): Hello | undefined {
    return this.#peer
  }
  get hello(): Hello {
    return this.#hello
  }
  get closed(): boolean {
    return this.#closedWith !== undefined
  }
  get closedWith(): TunnelError | undefined {
    return this.#closedWith
  }
  /** The last measured round trip of a PING, in ms. */
  get rttMs(): number | undefined {
    return this.#rttMs
  }
  get bufferedBytes(): number {
    return this.#transport.bufferedBytes
  }
  /** Streams and relay legs that stand on this link. */
  get streamCount(): number {
    return this.#members.size
  }
  /** The largest frame that the peer takes. */
  get maxFrameBytes(): number {
    return this.#peer?.limits.maxFrameBytes ?? this.#hello.limits.maxFrameBytes
  }
  /** Streams that we may still open on this link. */
  get openableStreams(): number {
    const max = this.#peer?.limits.maxStreams ?? 0
    return Math.max(0, max - (this.#members.size - this.#peerStreams))
  }

  /** Sends past the scheduler; for what is not counted, and small. */
  send(frame: Uint8Array): void {
    if (this.#closedWith !== undefined || this.#closing !== undefined) return
    if (!this.#greeted) {
      this.#beforeHello.push(frame)
      return
    }
    this.#transport.send(frame)
    if (this.#reading && this.#transport.bufferedBytes > HIGH_MARK_BYTES) this.#stopReading()
  }

  sendAuth(token: string): void {
    this.send(frames.encodeJson(FrameType.AUTH, 0, { token }))
  }

  /** Asks the peer to dial elsewhere, move its streams and leave. */
  goaway(goaway: Goaway): void {
    this.send(frames.encodeJson(FrameType.GOAWAY, 0, goaway))
  }

  /** Asks for a sign of life now; without one within `withinMs` the link is dead. */
  probe(withinMs: number): void {
    this.#heartbeat.probe(withinMs)
  }

  /** Ends the link, telling the peer why; its streams are suspended. Without an error: a normal closure (1000). */
  close(error?: TunnelError): void {
    if (error !== undefined) this.#fail(error)
    else this.#end(new TunnelError('ABORTED', 'the link was closed on this side'), 1000, '')
  }

  /** Closes normally when nothing stands on the link any more, or when `deadlineMs` is over. */
  closeWhenIdle(deadlineMs: number): void {
    if (this.#members.size === 0) return this.close()
    this.#idleTimer ??= this.#clock.setTimer(() => this.close(), deadlineMs)
  }

  /** Drops the connection without a word, as a network does. */
  terminate(): void {
    this.#transport.terminate()
  }

  /** Stops reading from this peer until `unhold`, so that it feels that its bytes go nowhere. */
  hold(): void {
    this.#held = true
    this.#transport.pause()
  }
  unhold(): void {
    this.#held = false
    if (this.#reading) this.#transport.resume()
  }

  // For channels.

  takeNumber(): number {
    const number = this.#nextNumber
    if (number <= frames.MAX_STREAM_NUMBER) this.#nextNumber += 2
    // Nothing leaves under it: the streams go on over the next link.
    else this.#fail(new TunnelError('TOO_MANY_STREAMS', 'this link has used up its stream numbers'))
    return number
  }

  /** `channel` stands on this link from now on: it is told when the link closes. */
  join(channel: LinkChannel): void {
    // Whoever waited for something may come after its end; never before `join` has returned.
    if (this.#closedWith !== undefined) queueMicrotask(() => channel.linkClosed())
    else this.#members.add(channel)
  }

  bind(number: number, channel: LinkChannel): void {
    this.#channels.set(number, channel)
    if (this.#isPeers(number)) this.#peerStreams++
  }

  release(channel: LinkChannel, number: number | undefined): void {
    this.#scheduler.remove(channel)
    this.#acknowledgements.delete(channel)
    this.#members.delete(channel)
    if (number !== undefined && this.#channels.get(number) === channel) {
      this.#channels.delete(number)
      if (this.#isPeers(number)) this.#peerStreams--
    }
    // Not in the midst of whatever lets go of its place.
    if (this.#idleTimer !== undefined && this.#members.size === 0) queueMicrotask(() => this.close())
  }

  #isPeers(number: number): boolean {
    return (number % 2 === 1) !== this.#dialler
  }

  /** `channel` may have frames to send. They leave before this turn of the event loop is over. */
  wake(channel: LinkChannel): void {
    if (this.#closedWith !== undefined) return
    this.#scheduler.add(channel)
    this.#pumpSoon()
  }

  acknowledgeLater(channel: LinkChannel): void {
    if (this.#closedWith !== undefined) return
    this.#acknowledgements.add(channel)
    this.#acknowledgeTimer ??= this.#clock.setTimer(() => {
      this.#acknowledgeTimer = undefined
      const due = [...this.#acknowledgements]
      this.#acknowledgements.clear()
      for (const waiting of due) waiting.acknowledge()
    }, ACKNOWLEDGE_MS)
  }

  /** Brings a frame that came too early to what stands behind its number now. */
  redeliver(frame: Uint8Array): void {
    this.#message(frame)
  }

  /** Refuses a stream that a peer wants, before anything is bound to its number. */
  refuse(number: number, error: TunnelError): void {
    this.send(frames.encodeJson(FrameType.RESET, number, error.toWire()))
  }

  // Sending.

  #pumpSoon(): void {
    if (this.#pumping || this.#peer === undefined || !this.#greeted) return
    this.#pumping = true
    queueMicrotask(() => {
      this.#pumping = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#closedWith !== undefined || this.#closing !== undefined || this.#peer === undefined) return
    const now = this.#clock.now()
    while (this.#transport.bufferedBytes < LOW_MARK_BYTES) {
      const shared = now < this.#interactiveUntilMs && this.#members.size > 1
      const frame = this.#scheduler.next(shared ? SHARED_DATA_BYTES : frames.MAX_DATA_BYTES)
      if (frame === undefined) return
      if (frame.length < SMALL_FRAME_BYTES) this.#interactiveUntilMs = now + INTERACTIVE_MS
      this.#transport.send(frame, this.#scheduler.compressible)
    }
  }

  #drained(): void {
    if (!this.#reading && this.#transport.bufferedBytes < LOW_MARK_BYTES) {
      this.#reading = true
      if (!this.#held) this.#transport.resume()
    }
    this.#pump()
  }

  #stopReading(): void {
    this.#reading = false
    this.#transport.pause()
  }

  // Liveness.

  #ping(): void {
    const frame = frames.newFrame(FrameType.PING, 0, 8)
    new DataView(frame.buffer, frame.byteOffset).setFloat64(HEADER_BYTES, this.#clock.now())
    this.send(frame)
  }

  #beat(nowMs: number): void {
    let ask = false
    for (const channel of [...this.#members]) if (channel.tick(nowMs, this.#readToMs)) ask = true
    if (ask) this.#ping()
  }

  #lost(silentMs: number): void {
    const error = new TunnelError('TIMEOUT', `nothing was heard for ${Math.round(silentMs)} ms`)
    this.#end(error, error.closeCode, `${error.code}: ${error.publicMessage}`)
    this.#transport.terminate()
  }

  // Receiving.

  #message(frame: Uint8Array): void {
    if (this.#closedWith !== undefined || this.#closing !== undefined) return
    this.#heartbeat.received()
    try {
      this.#dispatch(frame)
    } catch (error) {
      this.#fail(asTunnelError(error))
    }
  }

  #dispatch(frame: Uint8Array): void {
    if (frame.length < HEADER_BYTES) throw new TunnelError('FRAME_INVALID', 'a frame has no header')
    if (frame.length > this.#hello.limits.maxFrameBytes) {
      throw new TunnelError('FRAME_TOO_LARGE', `a frame of ${frame.length} bytes`)
    }
    const typeByte = frame[0]!
    const type = typeByte & frames.TYPE_MASK
    const number = frames.streamNumber(frame)
    if (number !== 0) {
      const channel = this.#channels.get(number)
      // OPEN and RESUME are never for a number that is in use.
      if (channel !== undefined && type !== FrameType.OPEN && type !== FrameType.RESUME) {
        if (!frames.isKnownType(typeByte) || type < FrameType.OPEN) throw unknownType(typeByte)
        channel.frame(typeByte, frame)
        return
      }
    }
    if (!frames.isKnownType(typeByte)) throw unknownType(typeByte)
    if (this.#peer === undefined && type !== FrameType.HELLO) {
      throw new TunnelError('FRAME_INVALID', 'the first frame is not HELLO')
    }
    if ((number === 0) !== type < FrameType.OPEN) {
      throw new TunnelError('FRAME_INVALID', `a frame of type ${type} on stream ${number}`)
    }
    if (number === 0) this.#linkFrame(type, frame)
    else this.#unboundFrame(type, typeByte, number, frame)
  }

  #linkFrame(type: number, frame: Uint8Array): void {
    switch (type) {
      case FrameType.PING:
        if (frame.length !== HEADER_BYTES + 8) throw new TunnelError('FRAME_INVALID', 'PING is not 8 bytes')
        frame[0] = FrameType.PONG
        this.send(frame)
        return
      case FrameType.PONG:
        if (frame.length !== HEADER_BYTES + 8) throw new TunnelError('FRAME_INVALID', 'PONG is not 8 bytes')
        return this.#receivePong(new DataView(frame.buffer, frame.byteOffset).getFloat64(HEADER_BYTES))
      case FrameType.HELLO:
        return this.#receiveHello(checkHello(frames.decodeJson(frame)))
      case FrameType.AUTH: {
        const { token } = frames.decodeJson(frame)
        if (typeof token !== 'string') throw new TunnelError('FRAME_INVALID', 'AUTH has no token')
        return this.#handlers.auth?.(token)
      }
      default: {
        const body = frames.decodeJson(frame)
        const error = errorFromWire(body)
        const deadlineMs = isDuration(body.deadlineMs) ? body.deadlineMs : 0
        this.#handlers.goaway?.({ ...error.toWire(), deadlineMs })
      }
    }
  }

  #receivePong(sentAtMs: number): void {
    const now = this.#clock.now()
    // Not one of ours.
    if (!(sentAtMs > this.#readToMs && sentAtMs <= now)) return
    this.#readToMs = sentAtMs
    this.#rttMs = now - sentAtMs
  }

  #receiveHello(hello: Hello): void {
    if (this.#peer !== undefined) throw new TunnelError('FRAME_INVALID', 'a second HELLO')
    this.#clock.clearTimer(this.#helloTimer)
    this.#peer = hello
    this.#heartbeat.set(stricterHeartbeat(this.#hello.heartbeat, hello.heartbeat))
    const admission = this.#handlers.ready?.(hello)
    if (admission === undefined) return this.#welcome()
    this.hold()
    admission.then(
      () => {
        this.unhold()
        this.#welcome()
      },
      (error: unknown) => this.#fail(asTunnelError(error)),
    )
  }

  #welcome(): void {
    if (!this.#greeted) this.#sendHello()
    this.#pumpSoon()
  }

  #sendHello(): void {
    this.#greeted = true
    this.send(frames.encodeJson(FrameType.HELLO, 0, this.#hello))
    for (const frame of this.#beforeHello.splice(0)) this.send(frame)
  }

  /** A frame for a number that nothing stands behind: a new stream, or a late word to one that is over. */
  #unboundFrame(type: number, typeByte: number, number: number, frame: Uint8Array): void {
    if (type !== FrameType.OPEN && type !== FrameType.RESUME) {
      const used = this.#isPeers(number) ? number <= this.#peerNumber : number < this.#nextNumber
      if (!used) throw new TunnelError('FRAME_INVALID', `stream ${number} was never opened on this link`)
      return
    }
    if (!this.#isPeers(number)) throw new TunnelError('FRAME_INVALID', `stream ${number} is ours to number`)
    if (number <= this.#peerNumber) throw new TunnelError('FRAME_INVALID', `stream ${number} was used before`)
    this.#peerNumber = number
    if (type === FrameType.OPEN) this.#receiveOpen(number, (typeByte & frames.END_FLAG) !== 0, frame)
    else this.#receiveResume(number, frame)
  }

  #receiveOpen(number: number, ends: boolean, frame: Uint8Array): void {
    const { head, first } = frames.decodeHead(frame)
    const maxStreams = this.#hello.limits.maxStreams
    if (this.#peerStreams >= maxStreams) return this.refuse(number, tooManyStreams(maxStreams))
    if (first.length > frames.MAX_DATA_BYTES) {
      const most = `${frames.MAX_DATA_BYTES} first bytes ride on OPEN at most`
      return this.refuse(number, new TunnelError('FRAME_TOO_LARGE', most))
    }
    const { open } = this.#handlers
    this.#offer(
      number,
      open && (() => open({ link: this, number, head: checkStreamHead(head), first, ends })),
    )
  }

  #receiveResume(number: number, frame: Uint8Array): void {
    if (!this.#resumes.take()) {
      throw new TunnelError('RATE_LIMITED', 'too many resumes on one link', { retryAfterMs: 1_000 })
    }
    const head = frames.decodeJson(frame)
    const maxStreams = this.#hello.limits.maxStreams
    if (this.#peerStreams >= maxStreams) return this.refuse(number, tooManyStreams(maxStreams))
    const { resume } = this.#handlers
    this.#offer(number, resume && (() => resume({ link: this, number, head: checkResumeHead(head) })))
  }

  /** What one stream's head has wrong ends that stream alone. */
  #offer(number: number, handle: (() => void) | undefined): void {
    try {
      if (handle === undefined) throw new TunnelError('FORBIDDEN', 'no streams are accepted on this link')
      handle()
    } catch (error) {
      this.refuse(number, asTunnelError(error))
    }
  }

  // Ending.

  #fail(error: TunnelError): void {
    this.#end(error, error.closeCode, `${error.code}: ${error.publicMessage}`)
  }

  #transportClosed(code: number, reason: string): void {
    this.#finish(this.#closing ?? errorFromClose(code, reason))
    this.#onGone()
  }

  #end(error: TunnelError, code: number, reason: string): void {
    if (this.#closedWith !== undefined) return
    if (this.#closing === undefined) {
      this.#closing = error
      this.#transport.close(code, reason)
    }
    this.#finish(error)
  }

  #finish(error: TunnelError): void {
    if (this.#closedWith !== undefined) return
    this.#closedWith = error
    this.#heartbeat.stop()
    this.#clock.clearTimer(this.#helloTimer)
    this.#clock.clearTimer(this.#acknowledgeTimer)
    this.#clock.clearTimer(this.#idleTimer)
    this.#acknowledgements.clear()
    const members = [...this.#members]
    this.#members.clear()
    this.#channels.clear()
    for (const member of members) member.linkClosed()
    this.#handlers.closed?.(error)
  }
}

function unknownType(typeByte: number): TunnelError {
  return new TunnelError('FRAME_INVALID', `0x${typeByte.toString(16)} is no frame type with its flags`)
}

function tooManyStreams(maxStreams: number): TunnelError {
  return new TunnelError('TOO_MANY_STREAMS', `a link carries ${maxStreams} streams at most`)
}
