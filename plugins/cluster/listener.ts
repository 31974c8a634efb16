import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Socket } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import type { Transport } from '../../protocol/link/transport.ts'
import { WebSocketTransport } from '../../protocol/node/websocket.ts'
import { cannotListen } from './errors.ts'

export interface ListenerOptions {
  host: string
  port: number
  maxFrameBytes: number
  /** A peer without a certificate that `ca` has signed gets no further than TLS. */
  tls?: { cert: string; key: string; ca: string } | undefined
  accepted(transport: Transport): void
}

export const RELAY_PATH = '/api/tunnel/relay'
/** Connections at once: those of replicas, and of strangers who find the port. */
const MAX_CONNECTIONS = 256

/** The port that only replicas use: nothing is answered there but the upgrade of a link between two of them. */
export class RelayListener {
  readonly #server: Server
  readonly #webSockets: WebSocketServer
  readonly #sockets = new Set<Socket>()

  constructor({ tls, maxFrameBytes, accepted }: ListenerOptions) {
    const webSockets = new WebSocketServer({
      noServer: true,
      maxPayload: maxFrameBytes,
      perMessageDeflate: false,
    })
    this.#webSockets = webSockets
    this.#server =
      tls === undefined ? createServer() : createTlsServer({ ...filesOf(tls), minVersion: 'TLSv1.3' })
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    this.#server.on('request', (_request, response) =>
      response.writeHead(426, { upgrade: 'websocket' }).end(),
    )
    this.#server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      socket.on('error', () => {})
      const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
      if (request.url !== RELAY_PATH || !offered?.includes(SUBPROTOCOL))
        return void socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
      webSockets.handleUpgrade(request, socket, head, (webSocket: WebSocket) => {
        socket.setNoDelay(true)
        accepted(new WebSocketTransport(webSocket, socket))
      })
    })
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
    for (const socket of this.#sockets) socket.destroy()
    this.#webSockets.close()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }
}

function filesOf({ cert, key, ca }: NonNullable<ListenerOptions['tls']>): object {
  return {
    ...{ cert: readFileSync(cert), key: readFileSync(key), ca: readFileSync(ca) },
    requestCert: true,
    rejectUnauthorized: true,
  }
}
