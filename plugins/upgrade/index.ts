import { EventEmitter, once } from 'node:events'
import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fastifyWebsocket from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import FindMyWay from 'find-my-way'
import type { WebSocket } from 'ws'
import { MAX_FRAGMENTS } from '../../protocol/node/websocket.ts'
import { handshakeInvalid, upgradeWithBody } from './errors.ts'
import { PendingUpgrades, type Upgrade } from './pending.ts'

export type { Upgrade } from './pending.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * For a route that answers upgrades itself, as it finds fit: the connection of a request that asked for one. Until it
     * is taken it is ended with the response.
     */
    holdUpgrade(request: IncomingMessage): Upgrade | undefined
  }
}

export interface UpgradeOptions {
  /** A larger message closes its WebSocket (1009). */
  maxFrameBytes: number
  /** Whether permessage-deflate may be agreed on. */
  compress: boolean
  /** How long an upgrade may take from its request to `ws`, in ms. @default 10_000 */
  pendingMs?: number
  /** The URL by which the router finds a request's route. @default the request's */
  urlOf?: (request: IncomingMessage) => string
}

const PENDING_MS = 10_000
/** Close code of a link that a restart ends (IANA's registry of WebSocket close codes). */
const RESTARTING = 1012
/** What the peer of such a link has to answer, in ms. */
const CLOSE_MS = 1_000

/**
 * WebSockets, once for all plugins: @fastify/websocket takes the upgrades of routes that are WebSockets, and nothing else.
 * An upgrade of any other request means nothing, and is answered as if it had not been asked for (RFC 9110, section
 * 7.8). Whatever refuses an upgrade, its socket is ended here.
 */
async function upgradePlugin(app: FastifyInstance, options: UpgradeOptions): Promise<void> {
  const urlOf = options.urlOf ?? (({ url = '' }) => url)
  const pending = new PendingUpgrades(options.pendingMs ?? PENDING_MS)

  /** Routes that are WebSockets, of custom plugins too. */
  const routes = FindMyWay()
  app.addHook('onRoute', ({ url, websocket, wsHandler }: RouteOptions) => {
    if (websocket !== true && wsHandler === undefined) return
    if (routes.findRoute('GET', url) === null) routes.on('GET', url, () => {})
  })
  const isWebSocket = (request: IncomingMessage): boolean =>
    request.method === 'GET' &&
    request.headers.upgrade?.toLowerCase() === 'websocket' &&
    routes.find('GET', urlOf(request)) !== null

  const accepted = new EventEmitter()
  await app.register(fastifyWebsocket, {
    options: {
      // It listens for upgrades on what it takes for a server: those that are meant for it.
      server: accepted as unknown as Server,
      maxPayload: options.maxFrameBytes,
      perMessageDeflate: options.compress,
      maxFragments: MAX_FRAGMENTS,
    },
    errorHandler: webSocketFailed,
    // Its own would close every link at once and without a code; whoever has links drains them first.
    preClose: (done: () => void) => done(),
  })
  app.server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    pending.add(request, socket, head)
    if (isWebSocket(request)) return accepted.emit('upgrade', request, socket, head)
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket)
    // Also the answers for which no hook runs.
    response.once('finish', () => end(request))
    return app.routing(request, response)
  })

  app.decorate('holdUpgrade', (request: IncomingMessage) => pending.hold(request))

  const end = (request: IncomingMessage): void => {
    const socket = pending.take(request)
    if (socket !== undefined) app.endSocket(socket)
  }
  app.addHook('onRequest', async (request, reply) => {
    const { raw } = request
    if (raw.method === 'GET' || raw.method === 'HEAD' || !pending.has(raw)) return
    // Its body went by with the upgrade, so no route can answer it.
    await app.limitByIp(request, reply)
    throw upgradeWithBody()
  })
  app.addHook('onResponse', async ({ raw }) => end(raw))

  app.websocketServer.on('headers', (headers: string[], request: IncomingMessage) => {
    // An accepted upgrade is answered by `ws`, past every hook of Fastify's.
    headers.push(`x-correlation-id: ${String(request.headers['x-correlation-id'])}`)
  })
  app.websocketServer.on('connection', (_webSocket: WebSocket, request: IncomingMessage) => {
    const socket = pending.take(request)
    if (socket !== undefined) app.letIn(socket)
  })
  app.websocketServer.on('wsClientError', (cause: Error, socket: Socket, request: IncomingMessage) => {
    pending.take(request)
    const error = handshakeInvalid(cause)
    app.tunnelMetrics.countError(error)
    app.endSocket(socket, { error, correlationId: String(request.headers['x-correlation-id']) })
  })

  app.lifecycle.onDrain('close', async () => {
    await closeAll(app.websocketServer)
    pending.destroy()
  })
}

/** What a peer does wrong is told by its link, which `ws` closes with the right code. */
function webSocketFailed(error: Error & { code?: string }, socket: WebSocket, request: FastifyRequest): void {
  if (error.code?.startsWith('WS_ERR_')) return
  request.log.error({ err: error }, 'a WebSocket failed')
  socket.terminate()
}

/** Closes what no plugin has closed; Fastify waits for every socket before it goes on. */
async function closeAll(server: FastifyInstance['websocketServer']): Promise<void> {
  server.close()
  const closed = [...server.clients].map((socket) => {
    // A peer that does not answer the close holds nobody up.
    const late = setTimeout(() => socket.terminate(), CLOSE_MS)
    late.unref()
    socket.close(RESTARTING, 'SHUTTING_DOWN')
    return once(socket, 'close').finally(() => clearTimeout(late))
  })
  await Promise.allSettled(closed)
}

export default fp(upgradePlugin, {
  name: 'tunnel-upgrade',
  fastify: '5.x',
  dependencies: ['tunnel-lifecycle', 'tunnel-metrics', 'tunnel-ratelimit', 'tunnel-sockets', 'tunnel-errors'],
})
