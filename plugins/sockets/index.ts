import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { limitBodies } from './bodies.ts'
import { certificateMissing } from './errors.ts'
import { descriptorLimit, maxPerAddress, maxSockets } from './limits.ts'
import { Newcomers } from './newcomers.ts'
import type { SocketsOptions, TlsOptions } from './options.ts'
import { ReadTurns, readAs } from './read-turns.ts'
import { endsOf, followFiles, hasCertificate, httpsOptions } from './tls.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Who is behind this socket is known: it no longer counts among the strangers of its address.
     * @param answer where it is known for as long as one request is answered. @default until it closes
     */
    letIn(socket: Socket, answer?: ServerResponse): void
    /** A hook for routes of agents: FORBIDDEN for one without a certificate, where they have to have one. */
    requireAgentCertificate(request: FastifyRequest): Promise<void>
  }
  interface FastifyContextConfig {
    /**
     * The bodies of this route's requests may take for ever, come in pieces of any size and be read behind their response: it
     * holds them to what it finds fit.
     */
    hasLongBody?: boolean
  }
}

/** An idle connection is kept this long, in ms: longer than most clients wait between requests, too short to delay a close. */
const KEEP_ALIVE_MS = 5_000
/** How long the head of a request may take to arrive, in ms. */
const HEAD_MS = 15_000
/** How often Node looks for requests that are late, in ms. */
const CHECK_MS = 5_000
/** How long a connection outlives everything else of a server that closes, in ms. */
const CLOSE_MS = 1_000
/** Requests at once on one connection: hardly a client sends any before it has had its answer. */
const MAX_PIPELINED = 32
/** Connections at once of an address that is refused for what it has done: enough to be told so. */
const REFUSED_SOCKETS = 8

/** What Fastify has to be made with. */
export function httpOptions(tls: TlsOptions | undefined): object {
  // What has no Host, or two, plugins/errors refuses.
  const times = { headersTimeout: HEAD_MS, connectionsCheckingInterval: CHECK_MS, requireHostHeader: false }
  const common = {
    // Node's own holds for every route.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: 'idle',
  }
  if (tls === undefined) return { ...common, http: times }
  return { ...common, https: { ...times, ...httpsOptions(tls) } }
}

/**
 * The connections to this server, before anything is asked on them: never so many that the process has no descriptors
 * of its own left, and never all of them one stranger's. Those that are left when the server closes are ended.
 */
async function socketsPlugin(app: FastifyInstance, options: SocketsOptions): Promise<void> {
  const max = options.max ?? maxSockets(descriptorLimit())
  if (max !== undefined) app.server.maxConnections = max
  // Else Node leaves out what comes behind the 2,000th header, such as a length, without a word. Bytes limit them.
  app.server.maxHeadersCount = 0
  // Behind a reverse proxy all strangers have the same address.
  const perAddress = options.behindProxy ? undefined : (options.perAddress ?? maxPerAddress(max))
  const newcomers = new Newcomers(perAddress ?? Number.POSITIVE_INFINITY)
  app.decorate('letIn', (socket: Socket, answer?: ServerResponse) => {
    newcomers.letIn(socket)
    // Else whoever has one token could keep as many connections as there are, idle or with half a request.
    answer?.once('close', () => newcomers.backOut(socket))
  })

  const turns = new ReadTurns()
  app.server.on(options.tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) =>
    turns.follow(socket),
  )
  app.addHook('onClose', async () => turns.close())
  app.server.prependListener('upgrade', (request: IncomingMessage) => readAs(request, true))
  limitPipelining(app)
  limitBodies(app)

  const { tls } = options
  app.decorate('requireAgentCertificate', async ({ raw }: FastifyRequest) => {
    if (tls?.agentCa !== undefined && !hasCertificate(raw.socket as TLSSocket)) throw certificateMissing()
  })
  if (tls !== undefined) {
    const measure = (): void => {
      for (const [certificate, end] of endsOf(tls))
        app.tunnelMetrics.certificateExpiry.set({ certificate }, end)
    }
    measure()
    const unfollow = followFiles(app.server, tls, {
      reloaded: ({ fingerprint256, validTo }) => {
        measure()
        const details = { fingerprint: fingerprint256, validTo }
        app.log.info({ context: details }, 'new connections get the new certificate')
        app.audit.record({ event: 'tls.reloaded', details })
      },
      failed: (error) => app.log.error({ err: error }, 'the changed certificate or key cannot be used'),
    })
    app.addHook('onClose', async () => unfollow())
  }

  const refused = () => app.tunnelMetrics.rateLimited.inc({ scope: 'socket', tier: 'none' })
  app.server.on('drop', refused)
  const sockets = new Set<Socket>()
  app.server.on('connection', (socket: Socket) => {
    const isRefused = !options.behindProxy && app.rateLimits.refusedMs(socket.remoteAddress ?? '') > 0
    if (!newcomers.enter(socket, isRefused ? REFUSED_SOCKETS : undefined)) {
      refused()
      socket.destroy()
      return
    }
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  app.health.addCheck('connections', () =>
    max !== undefined && sockets.size >= max
      ? 'all of the connections that the proxy may have are in use'
      : undefined,
  )

  app.lifecycle.onDrain('stop accepting', () => {
    // Whoever takes our place on this address must be able to listen while our peers move to it.
    app.server.close()
    app.server.closeIdleConnections()
  })
  app.lifecycle.onDrain('close', () => {
    // A connection on which nothing was asked, or half a request, or half a handshake, would never end.
    const late = setTimeout(() => {
      for (const socket of sockets) socket.destroy()
    }, CLOSE_MS)
    late.unref()
    app.server.once('close', () => clearTimeout(late))
  })
}

/**
 * Ends a connection on which too much is asked at once, and does nothing of what is behind that: Node tells of everything that
 * one read has brought, which may be a thousand requests, also when the connection has been destroyed.
 */
function limitPipelining({ server }: FastifyInstance): void {
  const underWay = new WeakMap<Socket, number>()
  const handlers = server.listeners('request') as RequestListener[]
  server.removeAllListeners('request')
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request
    if (socket.destroyed) return
    readAs(request)
    const count = (underWay.get(socket) ?? 0) + 1
    if (count > MAX_PIPELINED) return void socket.destroy()
    underWay.set(socket, count)
    response.once('close', () => underWay.set(socket, (underWay.get(socket) ?? 1) - 1))
    for (const handle of handlers) handle.call(server, request, response)
  })
}

export default fp(socketsPlugin, {
  name: 'tunnel-sockets',
  fastify: '5.x',
  dependencies: [
    'tunnel-audit',
    'tunnel-lifecycle',
    'tunnel-health-checks',
    'tunnel-metrics',
    'tunnel-ratelimit',
  ],
})
