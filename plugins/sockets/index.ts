import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { descriptorLimit, maxPerAddress, maxSockets } from './limits.ts'
import { Newcomers } from './newcomers.ts'
import type { SocketsOptions, TlsOptions } from './options.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Who is behind this socket is known: it no longer counts among the strangers of its address. */
    letIn(socket: Socket): void
  }
}

/** An idle connection is kept this long, in ms: longer than most clients wait between requests, too short to delay a close. */
const KEEP_ALIVE_MS = 5_000
/** How long a request may take to arrive, in ms, and its head alone; none of ours has a body to speak of. */
const REQUEST_MS = 60_000
const HEAD_MS = 15_000
/** How often Node looks for requests that are late, in ms. */
const CHECK_MS = 5_000
const HANDSHAKE_MS = 10_000
/** How long a connection outlives everything else of a server that closes, in ms. */
const CLOSE_MS = 1_000

/** What Fastify has to be made with. */
export function httpOptions(tls: TlsOptions | undefined): object {
  const times = { headersTimeout: HEAD_MS, connectionsCheckingInterval: CHECK_MS }
  const common = {
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: 'idle',
  }
  if (tls === undefined) return { ...common, http: times }
  const { cert, key, minVersion } = tls
  const files = { cert: readFileSync(cert), key: readFileSync(key) }
  return { ...common, https: { ...times, ...files, minVersion, handshakeTimeout: HANDSHAKE_MS } }
}

/**
 * The connections to this server, before anything is asked on them: never so many that the process has no descriptors
 * of its own left, and never all of them one stranger's. Those that are left when the server closes are ended.
 */
async function socketsPlugin(app: FastifyInstance, options: SocketsOptions): Promise<void> {
  const max = options.max ?? maxSockets(descriptorLimit())
  if (max !== undefined) app.server.maxConnections = max
  // Behind a reverse proxy all strangers have the same address.
  const perAddress = options.behindProxy ? undefined : (options.perAddress ?? maxPerAddress(max))
  const newcomers = new Newcomers(perAddress ?? Number.POSITIVE_INFINITY)
  app.decorate('letIn', (socket: Socket) => newcomers.letIn(socket))

  const refused = () => app.tunnelMetrics.rateLimited.inc({ scope: 'socket', tier: 'none' })
  app.server.on('drop', refused)
  const sockets = new Set<Socket>()
  app.server.on('connection', (socket: Socket) => {
    if (!newcomers.enter(socket)) {
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

export default fp(socketsPlugin, {
  name: 'tunnel-sockets',
  fastify: '5.x',
  dependencies: ['tunnel-lifecycle', 'tunnel-health-checks', 'tunnel-metrics'],
})
