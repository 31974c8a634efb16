import { type Clock, systemClock } from '../clock.ts'
import { asTunnelError, errorFromClose, errorFromWire, isDuration, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType, HEADER_BYTES } from '../codec/frames.ts'
import type { LinkTrust } from '../codec/heads.ts'
import { checkHello, type Hello, stricterHeartbeat } from '../codec/hello.ts'
import { type LinkChannel, LinkChannels } from './channels.ts'
import type { Goaway, LinkHandlers } from './handlers.ts'
import { Heartbeat } from './heartbeat.ts'
import { Inbox } from './inbox.ts'
import { StreamRequests } from './requests.ts'
import type { Transport } from './transport.ts'
import { costOfFrame, REFUSAL_COST, type Work } from './work-meter.ts'
import { LinkWriter } from './writer.ts'

export interface LinkOptions {
  transport: Transport
  /** Whether we dialled: the dialler speaks first and has the odd numbers. */
  dialler: boolean
  hello: Hello
  handlers: LinkHandlers
  clock?: Clock
  /**
   * Whether what the peer's OPEN and RESUME vouch for is believed. @default 'replica' for the dialler, which has
   * chosen its proxy; 'user' for the listener
   */
  trust?: LinkTrust
  /** Who counts what the peer causes; one for all links of a user. @default nobody: a peer that is trusted */
  work?: Work
}

/** How long a peer has for its HELLO, in ms. */
const HELLO_MS = 10_000

/** One WebSocket with its frames: HELLO, liveness, and what becomes of each frame that comes. */
export class Link {
  readonly #transport: Transport
  readonly #dialler: boolean
  readonly #hello: Hello
  readonly #handlers: LinkHandlers
  readonly #clock: Clock
  readonly #heartbeat: Heartbeat
  readonly #channels: LinkChannels
  readonly #requests: StreamRequests
  readonly #outlet: LinkWriter
  readonly #inbox: Inbox
  readonly #work: Work | undefined
  /** Resolves when the connection beneath has ended: nothing that was sent can be on its way out any more. */
  readonly gone: Promise<void>
  #onGone: () => void = () => {}
  #helloTimer: unknown
  /** Set when the link is to close as soon as nothing stands on it. */
  #idleTimer: unknown
  #peer: Hello | undefined
  #closedWith: TunnelError | undefined
  #closing: TunnelError | undefined
  /** When the last PING that was answered had been sent. */
  #readToMs = Number.NEGATIVE_INFINITY
  #rttMs: number | undefined

  constructor(options: LinkOptions) {
    const { transport, dialler, hello, handlers, clock = systemClock } = options
    const { trust = dialler ? 'replica' : 'user' } = options
    this.gone = new Promise((resolve) => {
      this.#onGone = resolve
    })
    this.#transport = transport
    this.#dialler = dialler
    this.#hello = hello
    this.#handlers = handlers
    this.#clock = clock
    this.#channels = new LinkChannels(dialler)
    this.#work = options.work
    this.#requests = new StreamRequests(this, this.#channels, handlers, clock, trust)
    this.#outlet = new LinkWriter({ transport, clock, isShared: () => this.#channels.size > 1 })
    this.#inbox = new Inbox({
      clock,
      work: options.work,
      deliver: (frame) => this.#receive(frame),
      hold: () => this.hold(),
      unhold: () => this.unhold(),
    })
    this.#heartbeat = new Heartbeat(
      {
        ping: () => this.#ping(),
        lost: (silentMs) => this.#lost(silentMs),
        beat: (now) => this.#beat(now),
        listening: () => !this.#outlet.held,
      },
      clock,
      hello.heartbeat,
    )
    transport.receiver = {
      message: (frame) => this.#message(frame),
      text: () => this.#fail(new TunnelError('FRAME_INVALID', 'text messages are not spoken here')),
      drained: () => this.#outlet.drained(),
      closed: (code, reason) => this.#transportClosed(code, reason),
    }
    this.#helloTimer = clock.setTimer(() => {
      this.#fail(new TunnelError('TIMEOUT', `no HELLO came within ${HELLO_MS / 1_000} s`))
    }, HELLO_MS)
    if (dialler) this.#sendHello()
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
    return this.#channels.size
  }
  /** The largest frame that the peer takes. */
  get maxFrameBytes(): number {
    return this.#peer?.limits.maxFrameBytes ?? this.#hello.limits.maxFrameBytes
  }
  /** Streams that we may still open on this link. */
  get openableStreams(): number {
    const max = this.#peer?.limits.maxStreams ?? 0
    return Math.max(0, max - (this.#channels.size - this.#channels.peerStreams))
  }

  /** Sends past the scheduler; for what is not counted, and small. */
  send(frame: Uint8Array): void {
    this.#outlet.send(frame)
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
    if (this.#channels.size === 0) return this.close()
    this.#idleTimer ??= this.#clock.setTimer(() => this.close(), deadlineMs)
  }

  /** Drops the connection without a word, as a network does. */
  terminate(): void {
    this.#transport.terminate()
  }

  /** Stops reading from this peer until `unhold`, so that it feels that its bytes go nowhere. */
  hold(): void {
    this.#outlet.hold()
  }
  unhold(): void {
    this.#outlet.unhold()
  }

  // For channels.

  takeNumber(): number {
    // Nothing leaves under a number that there is not: the streams go on over the next link.
    if (this.#channels.usedUp) {
      this.#fail(new TunnelError('TOO_MANY_STREAMS', 'this link has used up its stream numbers'))
    }
    return this.#channels.takeNumber()
  }

  /** `channel` stands on this link from now on: it is told when the link closes. */
  join(channel: LinkChannel): void {
    // Whoever waited for something may come after its end; never before `join` has returned.
    if (this.#closedWith !== undefined) queueMicrotask(() => channel.linkClosed())
    else this.#channels.add(channel)
  }

  bind(number: number, channel: LinkChannel): void {
    this.#channels.bind(number, channel)
  }

  /** As `release`, but `channel` is still told when the link closes. */
  stepBack(channel: LinkChannel, number: number | undefined): void {
    this.release(channel, number)
    this.#channels.watch(channel)
  }

  release(channel: LinkChannel, number: number | undefined): void {
    this.#outlet.remove(channel)
    this.#channels.remove(channel, number)
    // Not in the midst of whatever lets go of its place.
    if (this.#idleTimer !== undefined && this.#channels.size === 0) queueMicrotask(() => this.close())
  }

  /** `channel` may have frames to send. They leave before this turn of the event loop is over. */
  wake(channel: LinkChannel): void {
    this.#outlet.wake(channel)
  }

  /** `channel` has something to acknowledge that may wait for company. */
  acknowledgeLater(channel: LinkChannel): void {
    this.#outlet.acknowledgeLater(channel)
  }

  /** The peer has caused work beside its frames' own, in µs. */
  charge(cost: number): void {
    this.#inbox.charge(cost)
  }

  /** The peer has sent what no honest one sends. @throws {TunnelError} RATE_LIMITED when there was too much of it */
  fault(): void {
    if (this.#work?.fault() === false) {
      throw new TunnelError('RATE_LIMITED', 'too much came that is not valid', { retryAfterMs: 5_000 })
    }
  }

  /** Refuses a stream that a peer wants, before anything is bound to its number. */
  refuse(number: number, error: TunnelError): void {
    this.send(frames.encodeJson(FrameType.RESET, number, error.toWire()))
    this.charge(REFUSAL_COST)
  }

  // Liveness.

  #ping(): void {
    const frame = frames.newFrame(FrameType.PING, 0, 8)
    new DataView(frame.buffer, frame.byteOffset).setFloat64(HEADER_BYTES, this.#clock.now())
    this.send(frame)
  }

  #beat(nowMs: number): void {
    if (this.#channels.tick(nowMs, this.#readToMs)) this.#ping()
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
    this.#inbox.message(frame)
  }

  #receive(frame: Uint8Array): void {
    try {
      this.#dispatch(frame)
      const cost = costOfFrame(frame)
      if (cost > 0) this.#inbox.charge(cost)
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
      const channel = this.#channels.at(number)
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
    else this.#unboundFrame(typeByte, number, frame)
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
    this.#handlers.rtt?.(this.#rttMs)
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
    if (!this.#dialler) this.#sendHello()
    this.#outlet.open()
  }

  #sendHello(): void {
    this.#outlet.greet(frames.encodeJson(FrameType.HELLO, 0, this.#hello))
  }

  /** A frame for a number that nothing stands behind: a new stream, or a late word to one that is over. */
  #unboundFrame(typeByte: number, number: number, frame: Uint8Array): void {
    const type = typeByte & frames.TYPE_MASK
    if (type === FrameType.OPEN || type === FrameType.RESUME) {
      this.#channels.takePeerNumber(number)
      this.#requests.receive(typeByte, number, frame)
    } else if (!this.#channels.wasUsed(number)) {
      throw new TunnelError('FRAME_INVALID', `stream ${number} was never opened on this link`)
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
      this.#outlet.close()
      this.#transport.close(code, reason)
    }
    this.#finish(error)
  }

  #finish(error: TunnelError): void {
    if (this.#closedWith !== undefined) return
    this.#closedWith = error
    this.#heartbeat.stop()
    this.#clock.clearTimer(this.#helloTimer)
    this.#clock.clearTimer(this.#idleTimer)
    this.#inbox.close()
    this.#outlet.close()
    this.#channels.close()
    this.#handlers.closed?.(error)
  }
}

function unknownType(typeByte: number): TunnelError {
  return new TunnelError('FRAME_INVALID', `0x${typeByte.toString(16)} is no frame type with its flags`)
}
