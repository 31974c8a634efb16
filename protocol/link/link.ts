import { systemClock } from '../clock.ts'
import { TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import type { Hello } from '../codec/hello.ts'
import { Greeting } from './greeting.ts'
import type { Goaway, LinkHandlers } from './handlers.ts'
import { LinkFrames } from './link-frames.ts'
import { Liveness } from './liveness.ts'
import { Multiplexer } from './multiplexer.ts'
import type { LinkOptions } from './options.ts'
import { StreamRequests } from './requests.ts'
import type { Transport, TransportKind } from './transport.ts'

/** One WebSocket with its frames: HELLO, liveness, and what becomes of each frame that comes. */
export class Link extends Multiplexer {
  readonly #transport: Transport
  readonly #hello: Hello
  readonly #handlers: LinkHandlers
  readonly #liveness: Liveness
  readonly #greeting: Greeting
  readonly #frames: LinkFrames

  constructor(options: LinkOptions) {
    const { transport, dialler, hello, handlers, work, clock = systemClock } = options
    const { trust = dialler ? 'replica' : 'user', traffic = { sentBytes: 0, receivedBytes: 0 } } = options
    super({ transport, dialler, clock, traffic, work })
    this.#transport = transport
    this.#hello = hello
    this.#handlers = handlers
    const { channels, outlet, ending } = this
    const fail = (error: TunnelError): void => ending.fail(error)
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
        if (ending.hasBegun) return
        this.#liveness.received()
        this.received(frame)
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
      hold: () => this.hold(),
      unhold: () => this.unhold(),
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
  /** The largest frame that the peer takes. */
  get maxFrameBytes(): number {
    return this.peer?.limits.maxFrameBytes ?? this.#hello.limits.maxFrameBytes
  }
  /** Streams that we may still open on this link. */
  get openableStreams(): number {
    const max = this.peer?.limits.maxStreams ?? 0
    return Math.max(0, max - (this.channels.size - this.channels.peerStreams))
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

  /** Drops the connection without a word, as a network does. */
  terminate(): void {
    this.#transport.terminate()
  }

  protected override dispatch(frame: Uint8Array): void {
    this.#frames.dispatch(frame)
  }

  protected override stop(error: TunnelError): void {
    this.#liveness.stop()
    this.#greeting.stop()
    super.stop(error)
    this.#handlers.closed?.(error)
  }
}
