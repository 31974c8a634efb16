import type { Clock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import {
  END_FLAG,
  encodeHead,
  encodeJson,
  FrameType,
  streamNumber,
  TYPE_MASK,
} from '../../protocol/codec/frames.ts'
import type { AcceptHead, LinkTrust, RoutedHead, StreamEvent } from '../../protocol/codec/heads.ts'
import { type Hello, PROTOCOL_VERSION } from '../../protocol/codec/hello.ts'
import type { IncomingOpen, IncomingResume, LinkHandlers } from '../../protocol/link/handlers.ts'
import { Link } from '../../protocol/link/link.ts'
import { StreamAcceptor } from '../../protocol/stream/acceptor.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import { StreamOpener } from '../../protocol/stream/opener.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { MemoryPair, type MemoryTransport } from '../support/memory-transport.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

export const KIB = 1_024
export const MIB = 1_048_576

export const SETTINGS = {
  windowBytes: 262_144,
  maxWindowBytes: 8_388_608,
  resumeMs: 120_000,
  maxPerLink: 256,
  userBudgetBytes: 67_108_864,
}

export function helloOf(role: Hello['role'], more: Partial<Hello> = {}): Hello {
  return {
    role,
    version: PROTOCOL_VERSION,
    software: 'test',
    heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
    limits: { maxFrameBytes: MIB, maxStreams: SETTINGS.maxPerLink },
    resumeMs: SETTINGS.resumeMs,
    ...more,
  }
}

/** Everything that one end of a stream was told, in order. */
export class Heard {
  readonly stream: TunnelStream
  readonly order: string[] = []
  readonly chunks: Uint8Array[] = []
  readonly auxChunks: Uint8Array[] = []
  readonly events: StreamEvent[] = []
  accepted: AcceptHead | undefined
  ended = false
  closed = false
  error: TunnelError | undefined
  /** Delivered and not yet consumed, in bytes. */
  unreadBytes = 0
  /** Whether what comes is taken at once. */
  takes = true
  drained = 0
  suspensions = 0
  resumptions = 0

  constructor(stream: TunnelStream, takes = true) {
    this.stream = stream
    this.takes = takes
    stream.handle({
      accepted: (head) => {
        this.accepted = head
        this.order.push('accepted')
      },
      data: (bytes) => this.#arrived('data', this.chunks, bytes),
      aux: (bytes) => this.#arrived('aux', this.auxChunks, bytes),
      event: (event) => {
        this.events.push(event)
        this.order.push('event')
      },
      ended: () => {
        this.ended = true
        this.order.push('ended')
      },
      drained: () => {
        this.drained++
      },
      suspended: () => {
        this.suspensions++
      },
      resumed: () => {
        this.resumptions++
      },
      closed: (error) => {
        this.closed = true
        this.error = error
        this.order.push('closed')
      },
    })
  }

  #arrived(what: string, chunks: Uint8Array[], bytes: Uint8Array): void {
    chunks.push(bytes)
    this.order.push(what)
    this.unreadBytes += bytes.length
    if (this.takes) this.take()
  }

  take(bytes = this.unreadBytes): void {
    this.unreadBytes -= bytes
    this.stream.consumed(bytes)
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks)
  }
  get aux(): Buffer {
    return Buffer.concat(this.auxChunks)
  }
}

export interface Connected {
  pair: MemoryPair
  /** The opener's end. */
  near: Link
  /** The acceptor's end. */
  far: Link
}

export interface PartiesOptions {
  openerSettings?: Partial<typeof SETTINGS>
  acceptorSettings?: Partial<typeof SETTINGS>
  /** The acceptor's side takes what comes at once. */
  takes?: boolean
  onStream?: (stream: TunnelStream) => void
  subject?: string
  /** Whether the acceptor believes what its peer vouches for. */
  trust?: LinkTrust
  latencyMs?: () => number
}

/** An opener and an acceptor, and links between them as often as one likes, in virtual time. */
export class Parties {
  readonly clock = new VirtualClock()
  readonly openerBudget = new Budget(SETTINGS.userBudgetBytes)
  readonly acceptorBudget = new Budget(SETTINGS.userBudgetBytes)
  readonly opener: StreamOpener
  readonly acceptor: StreamAcceptor
  /** In the order of their OPENs. */
  readonly accepted: Heard[] = []
  readonly foreign: string[] = []
  readonly linkErrors: TunnelError[] = []
  /** Whom the links belong to. */
  subject: string
  readonly #options: PartiesOptions

  constructor(options: PartiesOptions = {}) {
    this.#options = options
    this.subject = options.subject ?? 'anna'
    const { clock } = this
    this.opener = new StreamOpener({
      settings: { ...SETTINGS, ...options.openerSettings },
      clock,
      budget: this.openerBudget,
    })
    this.acceptor = new StreamAcceptor({
      hop: 'agent',
      settings: { ...SETTINGS, ...options.acceptorSettings },
      clock,
      budgetOf: () => this.acceptorBudget,
      onForeignResume: (id) => this.foreign.push(id),
      onStream: (stream) => {
        if (options.onStream !== undefined) return options.onStream(stream)
        this.accepted.push(new Heard(stream, options.takes))
        stream.accept()
      },
    })
  }

  /** The acceptor's side of a link, whoever is on the other. */
  listen(transport: MemoryTransport, handlers: LinkHandlers = {}, hello = helloOf('proxy')): Link {
    const { subject } = this
    const { trust = 'user' } = this.#options
    return new Link({
      trust,
      transport,
      dialler: false,
      hello,
      clock: this.clock,
      handlers: {
        open: (open: IncomingOpen) => this.acceptor.open(open, subject),
        resume: (resume: IncomingResume) => this.acceptor.resume(resume, subject),
        closed: (error) => this.linkErrors.push(error),
        ...handlers,
      },
    })
  }

  newPair(): MemoryPair {
    const { latencyMs } = this.#options
    return new MemoryPair({ clock: this.clock, ...(latencyMs === undefined ? {} : { latencyMs }) })
  }

  /** A new link that the opener's streams go over. */
  async connect(hello = helloOf('client'), farHello = helloOf('proxy')): Promise<Connected> {
    const pair = this.newPair()
    const far = this.listen(pair.b, {}, farHello)
    const near = new Link({
      transport: pair.a,
      dialler: true,
      hello,
      clock: this.clock,
      handlers: { ready: () => this.opener.attach(near), closed: (error) => this.linkErrors.push(error) },
    })
    await this.pass(10)
    return { pair, near, far }
  }

  open(more: Partial<RoutedHead> = {}, first?: Uint8Array, end?: boolean): Heard {
    return new Heard(this.opener.open({ kind: 'ssh', machine: 'home', ...more }, first, end))
  }

  async pass(ms: number): Promise<void> {
    await this.clock.run(this.clock.now() + ms)
  }

  /** What has to be nought when every stream is over. */
  leftovers(): Record<string, number> {
    return {
      opener: this.opener.size,
      acceptor: this.acceptor.size,
      openerBudget: this.openerBudget.usedBytes,
      acceptorBudget: this.acceptorBudget.usedBytes,
    }
  }
}

export const NOTHING = { opener: 0, acceptor: 0, openerBudget: 0, acceptorBudget: 0 }

export interface ReceivedFrame {
  type: number
  flags: number
  stream: number
  body: Uint8Array
}

/** A peer that says what it is told to, right or wrong, and keeps what it hears. */
export class RawPeer {
  readonly transport: MemoryTransport
  readonly received: ReceivedFrame[] = []
  closedWith: { code: number; reason: string } | undefined

  constructor(transport: MemoryTransport) {
    this.transport = transport
    transport.receiver = {
      message: (frame) =>
        this.received.push({
          type: frame[0]! & TYPE_MASK,
          flags: frame[0]! & ~TYPE_MASK,
          stream: streamNumber(frame),
          body: frame.subarray(5),
        }),
      text: () => {},
      drained: () => {},
      closed: (code, reason) => {
        this.closedWith = { code, reason }
      },
    }
  }

  send(frame: Uint8Array): void {
    this.transport.send(frame)
  }
  hello(hello: Hello = helloOf('client')): void {
    this.send(encodeJson(FrameType.HELLO, 0, hello))
  }
  open(stream: number, more: Record<string, unknown> = {}, first?: Uint8Array, end = false): void {
    const head = { id: idOf(stream), kind: 'ssh', machine: 'home', window: SETTINGS.windowBytes, ...more }
    this.send(encodeHead(end ? FrameType.OPEN | END_FLAG : FrameType.OPEN, stream, head, first))
  }
  json(type: FrameType, stream: number, value: unknown): void {
    this.send(encodeJson(type, stream, value))
  }

  of(type: number, stream?: number): ReceivedFrame[] {
    return this.received.filter(
      (frame) => frame.type === type && (stream === undefined || frame.stream === stream),
    )
  }
  /** The code of the RESET of this stream, if one has come. */
  resetCode(stream: number): string | undefined {
    const body = this.of(FrameType.RESET, stream).at(-1)?.body
    return body === undefined ? undefined : (jsonOf(body).code as string)
  }
}

export function jsonOf(body: Uint8Array): Record<string, unknown> {
  return JSON.parse(Buffer.from(body).toString()) as Record<string, unknown>
}

export function idOf(number: number): string {
  return number.toString(16).padStart(32, '0')
}

/** A raw client against a real listener with an acceptor. */
export async function rawClient(
  parties = new Parties(),
  handlers: LinkHandlers = {},
): Promise<{ parties: Parties; peer: RawPeer; link: Link }> {
  const pair = parties.newPair()
  const link = parties.listen(pair.b, handlers)
  const peer = new RawPeer(pair.a)
  peer.hello()
  await parties.pass(1)
  return { parties, peer, link }
}

/** A link that nobody has to answer for. */
export function linkOf(
  transport: MemoryTransport,
  clock: Clock,
  dialler: boolean,
  handlers: LinkHandlers = {},
  hello = helloOf(dialler ? 'client' : 'proxy'),
): Link {
  return new Link({ transport, dialler, hello, clock, handlers })
}
