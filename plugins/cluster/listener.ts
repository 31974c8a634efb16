import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { type WebSocket, WebSocketServer } from 'ws'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import type { Transport } from '../../protocol/link/transport.ts'
import { certificateFailure } from '../../protocol/node/certificate.ts'
import { networkOf } from '../../protocol/node/network-of.ts'
import { MAX_FRAGMENTS, WebSocketTransport } from '../../protocol/node/websocket.ts'
import { cannotListen, certificateMissing, certificateRefused, notOfReplicas } from './errors.ts'

export interface ListenerOptions {
  host: string
  port: number
  maxFrameBytes: number
  /** A peer without a certificate that `ca` has signed is told so, and nothing else. */
  tls?: { cert: string; key: string; ca: string } | undefined
  accepted(transport: Transport): void
  /** Why somebody got no link. */
  refused(error: TunnelError): void
  /** Ends a socket that is not accepted, with an answer or without. */
  endSocket(socket: Socket, answer?: { error: TunnelError; correlationId: string }): void
}

export const RELAY_PATH = '/api/tunnel/relay'
/** Connections at once: those of replicas, and of strangers who find the port. */
const MAX_CONNECTIONS = 256
/** Of those, from one address: nobody keeps replicas of other hosts out. */
const MAX_OF_ADDRESS = 64
/** How long TLS may take, and the head of a request, in ms; and how often Node looks for what is late. */
const TIMES = { handshakeTimeout: 5_000, headersTimeout: 5_000, connectionsCheckingInterval: 2_000 }

/** The port that only replicas use: nothing is answered there but the upgrade of a link between two of them. */
export class RelayListener {
  readonly #server: Server
  readonly #webSockets: WebSocketServer
  readonly #options: ListenerOptions
  /** Each with the network that it comes from. */
  readonly #sockets = new Map<Socket, string>()

  constructor(options: ListenerOptions) {
    const { tls, maxFrameBytes, accepted, endSocket } = options
    this.#options = options
    const webSockets = new WebSocketServer({
      noServer: true,
      maxPayload: maxFrameBytes,
      maxFragments: MAX_FRAGMENTS,
      perMessageDeflate: false,
    })
    this.#webSockets = webSockets
    this.#server =
      tls === undefined
        ? createServer(TIMES)
        : createTlsServer({ ...TIMES, ...filesOf(tls), minVersion: 'TLSv1.3' })
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.on('connection', (socket: Socket) => this.#connected(socket))
    this.#server.on('request', (_request, response) =>
      response.writeHead(426, { upgrade: 'websocket', connection: 'close' }).end(),
    )
    this.#server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      socket.on('error', () => {})
      const failure = strangerIn(socket)
      if (failure !== undefined) return this.#refuse(socket, failure, certificateRefused(failure))
      const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
      if (request.url !== RELAY_PATH || !offered?.includes(SUBPROTOCOL)) {
        socket.write('HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
        return endSocket(socket)
      }
      webSockets.handleUpgrade(request, socket, head, (webSocket: WebSocket) => {
        socket.setNoDelay(true)
        accepted(new WebSocketTransport(webSocket, socket))
      })
    })
    // Of TLS too.
    this.#server.on('clientError', (error: Error & { code?: string; rawPacket?: Buffer }, socket: Socket) => {
      // One that only looks whether somebody listens has done nothing wrong.
      if (error.code === 'ECONNRESET') return void socket.destroy()
      const failure = notOfReplicas(whereOf(socket), error)
      // Nothing can be said where TLS does not stand.
      this.#refuse(socket, failure, tls === undefined ? failure : undefined)
    })
  }

  #refuse(socket: Socket, failure: TunnelError, answer: TunnelError | undefined): void {
    this.#options.refused(failure)
    this.#options.endSocket(socket, answer && { error: answer, correlationId: randomUUID() })
  }

  #connected(socket: Socket): void {
    const network = networkOf(socket.remoteAddress ?? '')
    let ofNetwork = 0
    for (const other of this.#sockets.values()) if (other === network) ofNetwork++
    if (ofNetwork >= MAX_OF_ADDRESS) return void socket.destroy()
    this.#sockets.set(socket, network)
    socket.once('close', () => this.#sockets.delete(socket))
  }

  /** @throws {TunnelError} CONFIG_INVALID */
  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => reject(cannotListen(port, error))
      this.#server.once('error', failed)
      // Of this worker's own, not one that Node shares among workers.
      this.#server.listen({ port, host, exclusive: true }, () => {
        this.#server.off('error', failed)
        resolve()
      })
    })
  }

  /** Where it listens. */
  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  close(): Promise<void> {
    for (const socket of this.#sockets.keys()) socket.destroy()
    this.#webSockets.close()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }
}

function filesOf({ cert, key, ca }: NonNullable<ListenerOptions['tls']>): object {
  return {
    ...{ cert: readFileSync(cert), key: readFileSync(key), ca: readFileSync(ca) },
    requestCert: true,
    // Judged at the upgrade: a connection that TLS ends tells its peer nothing.
    rejectUnauthorized: false,
  }
}

function whereOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress}:${remotePort}`
}

/** Why the certificate of whoever has come is none of a replica. */
function strangerIn(socket: Socket): TunnelError | undefined {
  if (!(socket instanceof TLSSocket)) return undefined
  const where = whereOf(socket)
  if (socket.getPeerX509Certificate() === undefined) return certificateMissing(where)
  return certificateFailure(socket, where, undefined)
}
