import { type Clock, systemClock } from '../clock.ts'
import { asTunnelError, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import type { Hello } from '../codec/hello.ts'
import { type LinkChannel, LinkChannels } from './channels.ts'
import { Greeting } from './greeting.ts'
import type { Goaway, LinkHandlers } from './handlers.ts'
import { Inbox } from './inbox.ts'
import { LinkEnding } from './link-ending.ts'
import { LinkFrames } from './link-frames.ts'
import { Liveness } from './liveness.ts'
import type { LinkOptions } from './options.ts'
import { StreamRequests } from './requests.ts'
import type { Transport, TransportKind } from './transport.ts'
import { costOfFrame, REFUSAL_COST, type Work } from './work-meter.ts'
import { LinkWriter } from './writer.ts'

/** One WebSocket with its frames: HELLO, liveness, and what becomes of each frame that comes. */
export class Link {
  readonly #transport: Transport
  readonly #hello: Hello
  readonly #handlers: LinkHandlers
  readonly #clock: Clock
  readonly #liveness: Liveness
  readonly #greeting: Greeting
  readonly #frames: LinkFrames
  readonly #channels: LinkChannels
  readonly #outlet: LinkWriter
  readonly #inbox: Inbox
  readonly #work: Work | undefined
  readonly #ending: LinkEnding
  /** Set when the link is to close as soon as nothing stands on it. */
  #idleTimer: unknown
  constructor(options: LinkOptions) {
    const { transport, dialler, hello, handlers, clock = systemClock } = options
    const { trust = dialler ? 'replica' : 'user', traffic = { sentBytes: 0, receivedBytes: 0 } } = options
    this.#transport = transport
    this.#hello = hello
    this.#handlers = handlers
    this.#clock = clock
    this.#work = options.work
    const ending = new LinkEnding({
      transport,
      silence: () => outlet.close(),
      over: (error) => this.#stop(error),
    })
    this.#ending = ending
    const fail = (error: TunnelError): void => ending.fail(error)
    const hold = (): void => this.hold()
    const unhold = (): void => this.unhold()
    const channels = new LinkChannels(dialler)
    const outlet = new LinkWriter({ transport, clock, isShared: () => channels.size > 1, traffic })
    this.#channels = channels
    this.#outlet = outlet
    this.#inbox = new Inbox({
      clock,
      work: options.work,
      deliver: (frame) => this.#receive(frame),
      hold,
      unhold,
    })
    this.#liveness = new Liveness({
      clock,
      heartbeat: hello.heartbeat,
      send: (frame) => this.send(frame),
      listening: () => !outlet.held,
      tick: (nowMs, readToMs) => channels.tick(nowMs, readToMs),
      lost: (silentMs) => ending.lost(silentMs),
      rtt: (ms, sentAtMs) => handlers.rtt?.(ms, sentAtMs),
    })
    transport.receiver = {
      message: (frame) => {
        traffic.receivedBytes += frame.length
        this.#message(frame)
      },
      text: () => fail(new TunnelError('FRAME_INVALID', 'text messages are not supported', { hop: 'link' })),
      drained: () => outlet.drained(),
      closed: (code, reason) => ending.transportClosed(code, reason),
    }
    this.#greeting = new Greeting({
      clock,
      dialler,
      greet: () => outlet.greet(frames.encodeJson(FrameType.HELLO, 0, hello)),
      ready: (peer) => {
        this.#liveness.agree(peer.heartbeat)
        return handlers.ready?.(peer)
      },
      hold,
      unhold,
      open: () => outlet.open(),
      fail,
    })
    this.#frames = new LinkFrames({
      maxFrameBytes: hello.limits.maxFrameBytes,
      channels,
      requests: new StreamRequests(this, channels, handlers, clock, trust),
      greeting: this.#greeting,
      liveness: this.#liveness,
      handlers,
    })
  }

  get peer(): Hello | undefined {
    return this.#greeting.peer
  }
  get hello(): Hello {
    return this.#hello
  }
  get closed(): boolean {
    return this.#ending.closedWith !== undefined
  }
  get closedWith(): TunnelError | undefined {
    return this.#ending.closedWith
  }
  /** The peer has closed it, and normally. */
  get leftByPeer(): boolean {
    return this.#ending.leftByPeer
  }
  /** Resolves when the connection beneath has ended: nothing that was sent can be on its way out any more. */
  get gone(): Promise<void> {
    return this.#ending.gone
  }
  get transport(): TransportKind {
    return this.#transport.kind ?? 'websocket'
  }
  /** Why it goes over no WebSocket, where its dial has just found that out. */
  get detour(): TunnelError | undefined {
    return this.#transport.detour
  }
  /** The last measured round trip of a PING, in ms. */
  get rttMs(): number | undefined {
    return this.#liveness.rttMs
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
    return this.peer?.limits.maxFrameBytes ?? this.#hello.limits.maxFrameBytes
  }
  /** Streams that we may still open on this link. */
  get openableStreams(): number {
    const max = this.peer?.limits.maxStreams ?? 0
    return Math.max(0, max - (this.#channels.size - this.#channels.peerStreams))
  }

  /** Sends past the scheduler; for what is not counted, and small. */
  send(frame: Uint8Array): void {
    this.#outlet.send(frame)
  }

  sendAuth(token: string): void {
    this.send(frames.encodeJson(FrameType.AUTH, 0, { token }))
  }

  /** Tells another replica. */
  sendMesh(body: object): void {
    this.send(frames.encodeJson(FrameType.MESH, 0, body))
  }

  /** Asks the peer to dial elsewhere, move its streams and leave. */
  goaway(goaway: Goaway): void {
    this.send(frames.encodeJson(FrameType.GOAWAY, 0, goaway))
  }

  /** Asks for a sign of life now; without one within `withinMs` the link is dead. */
  probe(withinMs: number): void {
    this.#liveness.probe(withinMs)
  }

  /** Ends the link, telling the peer why; its streams are suspended. Without an error: a normal closure (1000). */
  close(error?: TunnelError): void {
    if (error === undefined) this.#ending.leave()
    else this.#ending.fail(error)
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
      const text = 'this link has used up its stream numbers'
      this.#ending.fail(new TunnelError('TOO_MANY_STREAMS', text, { hop: 'link' }))
    }
    return this.#channels.takeNumber()
  }

  /** `channel` stands on this link from now on: it is told when the link closes. */
  join(channel: LinkChannel): void {
    // Whoever waited for something may come after its end; never before `join` has returned.
    if (this.closed) queueMicrotask(() => channel.linkClosed())
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
    // Later: the caller that releases its place is still running, and a close now would re-enter it.
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

  /** What was charged turned out to be in order. */
  credit(cost: number): void {
    this.#inbox.credit(cost)
  }

  /** The peer has sent what no honest one sends. @throws {TunnelError} RATE_LIMITED when there was too much of it */
  fault(): void {
    if (this.#work?.fault() === false) {
      throw new TunnelError('RATE_LIMITED', 'the peer sent too much that is not valid', {
        hop: 'link',
        retryAfterMs: 5_000,
      })
    }
  }

  /** Refuses a stream that a peer wants, before anything is bound to its number. */
  refuse(number: number, error: TunnelError): void {
    this.send(frames.encodeJson(FrameType.RESET, number, error.toWire()))
    this.charge(REFUSAL_COST)
  }

  // Receiving.

  #message(frame: Uint8Array): void {
    if (this.#ending.hasBegun) return
    this.#liveness.received()
    this.#inbox.message(frame)
  }

  #receive(frame: Uint8Array): void {
    try {
      this.#frames.dispatch(frame)
      const cost = costOfFrame(frame)
      if (cost > 0) this.#inbox.charge(cost)
    } catch (error) {
      this.#ending.fail(asTunnelError(error, 'link'))
    }
  }

  #stop(error: TunnelError): void {
    this.#liveness.stop()
    this.#greeting.stop()
    this.#clock.clearTimer(this.#idleTimer)
    this.#inbox.close()
    this.#outlet.close()
    this.#channels.close()
    this.#handlers.closed?.(error)
  }
}
