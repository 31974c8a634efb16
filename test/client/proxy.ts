import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { TunnelService, type TunnelServiceOptions } from '../../client/index.ts'
import type { ClientOverrides } from '../../client/options.ts'
import { resolveSettings } from '../../client/settings.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { HeaderList } from '../../protocol/codec/heads.ts'
import { type Hello, SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import type { IncomingResume } from '../../protocol/link/handlers.ts'
import { Link } from '../../protocol/link/link.ts'
import type { CompressionChoice } from '../../protocol/link/transport.ts'
import { WebSocketTransport } from '../../protocol/node/websocket.ts'
import { StreamAcceptor } from '../../protocol/stream/acceptor.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import type { Scope } from '../support/scope.ts'

export interface ProxyOptions {
  onStream: (stream: TunnelStream) => void
  /** @default streams go on */
  onResume?: (resume: IncomingResume) => void
  /** Throws what an upgrade is refused with. */
  authorise?: (token: string) => void
  onAuth?: (token: string) => void
  onLinkClosed?: (link: Link) => void
  maxStreams?: number
  compression?: CompressionChoice | undefined
  settings?: ClientOverrides
  /** Shared by proxies that can resume each other's streams. */
  acceptor?: StreamAcceptor
}

/** A proxy reduced to what a client sees of one: real WebSockets, links, and streams that a test answers. */
export class TestProxy {
  readonly links: Link[] = []
  readonly tokens: string[] = []
  readonly acceptor: StreamAcceptor
  readonly #options: ProxyOptions
  readonly #instance = randomUUID()
  readonly #server: Server
  readonly #webSockets: WebSocketServer
  readonly #sockets: Socket[] = []

  constructor(options: ProxyOptions) {
    this.#options = options
    this.#webSockets = new WebSocketServer({
      noServer: true,
      handleProtocols: () => SUBPROTOCOL,
      perMessageDeflate: options.compression !== undefined,
    })
    const { streams } = resolveSettings({}, 'default', options.settings)
    this.acceptor =
      options.acceptor ?? new StreamAcceptor({ hop: 'agent', settings: streams, onStream: options.onStream })
    this.#server = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify([{ name: 'home', online: true }]))
    })
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
  }

  async listen(port: number): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(port, '127.0.0.1', resolve))
    return this
  }
  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }
  /** The newest. */
  get link(): Link {
    return this.links.at(-1)!
  }

  /** On all connections, as it is on the wire. */
  get sentBytes(): number {
    return this.#sockets.reduce((sum, socket) => sum + socket.bytesWritten, 0)
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const token = request.headers.authorization?.replace('Bearer ', '') ?? ''
    this.tokens.push(token)
    try {
      this.#options.authorise?.(token)
    } catch (error) {
      const { code, message, statusCode } = error as TunnelError
      const body = JSON.stringify({ code, title: code, detail: message, status: statusCode })
      const type = 'content-type: application/problem+json'
      socket.end(
        `HTTP/1.1 ${statusCode} No\r\n${type}\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
      )
      return
    }
    this.#sockets.push(request.socket)
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => this.#link(webSocket, socket))
  }

  #link(webSocket: WebSocket, socket: Duplex): void {
    const hello: Hello = {
      instance: this.#instance,
      role: 'proxy',
      version: 1,
      software: 'test',
      heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
      limits: { maxFrameBytes: 1_048_576, maxStreams: this.#options.maxStreams ?? 256 },
      resumeMs: 120_000,
    }
    const link: Link = new Link({
      transport: new WebSocketTransport(webSocket, socket, this.#options.compression),
      dialler: false,
      hello,
      handlers: {
        open: (open) => this.acceptor.open(open, 'user'),
        resume: this.#options.onResume ?? ((resume) => this.acceptor.resume(resume, 'user')),
        auth: (token) => this.#options.onAuth?.(token),
        closed: () => this.#options.onLinkClosed?.(link),
      },
    })
    this.links.push(link)
  }

  /** Reads no more of what comes on its connections. */
  pause(): void {
    for (const socket of this.#sockets) socket.pause()
  }

  /** Drops every connection, as a network does. */
  cut(): void {
    for (const link of this.links) if (!link.closed) link.terminate()
  }

  async close(): Promise<void> {
    this.cut()
    const over = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await over
  }
}

/** @param port 0 lets the system choose; a test that starts a proxy again gives its former one */
export async function startProxy(t: Scope, options: ProxyOptions, port = 0): Promise<TestProxy> {
  const proxy = await new TestProxy(options).listen(port)
  t.after(() => proxy.close())
  return proxy
}

/** A client with quick backoff; disconnected when the test ends. */
export function clientOf(
  t: Scope,
  url: string | string[],
  more: Partial<TunnelServiceOptions> = {},
): TunnelService {
  const { settings, ...rest } = more
  const tunnel = new TunnelService({
    url,
    token: 'token',
    settings: { backoff: { baseMs: 20, maxMs: 100, maxAttempts: 5 }, ...settings },
    ...rest,
  })
  t.after(() => tunnel.disconnect(0))
  return tunnel
}

/** The whole body that the client sends. */
export function collect(stream: TunnelStream): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = []
    stream.handle({
      data: (bytes) => {
        chunks.push(bytes)
        stream.consumed(bytes.length)
      },
      ended: () => resolve(Buffer.concat(chunks)),
      closed: (error) => reject(error),
    })
  })
}

export function respond(
  stream: TunnelStream,
  status: number,
  body: string | Uint8Array = '',
  headers: HeaderList = [],
): void {
  stream.accept({ http: { status, statusText: 'Whatever', headers } }, Buffer.from(body), true)
}

/** The value of an event's next occurrence. */
export function next<T>(once: (listener: (value: T) => void) => unknown): Promise<T> {
  return new Promise((resolve) => once(resolve))
}

export function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
