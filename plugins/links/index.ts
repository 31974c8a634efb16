import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { WebSocket } from 'ws'
import { SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import { AgentLinks } from './agents.ts'
import { ClientLinks } from './clients.ts'
import { LinkDoor, unsentBytes } from './door.ts'
import { notAnUpgrade, shuttingDown, subprotocolMissing } from './errors.ts'
import type { WebSocketPluginOptions } from './options.ts'

export { filterUpgrades } from './upgrade.ts'

export interface Links {
  /** Links that stand. */
  readonly count: number
  /** The proxy is leaving: it takes no new links. */
  readonly draining: boolean
  /** Tells every peer to dial elsewhere and waits until they have, at most `deadlineMs`; then closes what is left. */
  drain(deadlineMs?: number): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    links: Links
  }
}

/** For @fastify/websocket: what a peer does wrong is told by its link, which `ws` closes with the right code. */
export function webSocketFailed(
  error: Error & { code?: string },
  socket: WebSocket,
  request: FastifyRequest,
): void {
  if (error.code?.startsWith('WS_ERR_')) return
  request.log.error({ err: error }, 'a WebSocket failed')
  socket.terminate()
}

async function websocketPlugin(
  app: FastifyInstance,
  options: WebSocketPluginOptions & { software: string },
): Promise<void> {
  const door = new LinkDoor(app, options, options.software)
  const clients = new ClientLinks(app, options)
  let draining: Promise<void> | undefined
  const agents = new AgentLinks(app, options.limits.agentLinksPerUser, () => draining !== undefined)

  const links: Links = {
    get count() {
      return door.links.size
    },
    get draining() {
      return draining !== undefined
    },
    drain(deadlineMs = options.shutdown.serverMs) {
      // Whoever takes our place on this address must be able to listen while our peers move to it.
      app.server.close()
      app.server.closeIdleConnections()
      draining ??= (async () => {
        // The state folder too: links that stand need it no more.
        await app.state.close()
        await door.drain(deadlineMs, shuttingDown(), (link) => clients.sessions.isUsed(link))
      })()
      return draining
    },
  }
  app.decorate('links', links)

  app.addHook('preClose', () => links.drain(0))
  app.addHook('onClose', async () => clients.sessions.close(shuttingDown()))

  app.tunnelMetrics.onRead(() => {
    const { streams, linkSendBufferBytes } = app.tunnelMetrics
    linkSendBufferBytes.set({}, unsentBytes(door.links.keys()))
    for (const [kind, state, count] of clients.counts()) streams.set({ kind, state }, count)
    clients.countBytes()
  })

  async function checkUpgrade(request: FastifyRequest): Promise<void> {
    if (!request.ws) throw notAnUpgrade()
    const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
    if (!offered?.includes(SUBPROTOCOL)) throw subprotocolMissing()
    if (draining !== undefined) throw shuttingDown()
  }

  const onRequest = [app.limitByIp, app.requireUser, checkUpgrade]
  const checkRoom = async (request: FastifyRequest): Promise<void> => clients.checkRoom(request.user)

  await app.register(async (routes) => {
    routes.get(
      '/api/tunnel/connect',
      { websocket: true, onRequest: [...onRequest, checkRoom] },
      (webSocket, request) => door.accept('client', webSocket, request, clients),
    )
    const checkAgentRoom = async (request: FastifyRequest): Promise<void> => agents.checkRoom(request.user)
    routes.get(
      '/api/tunnel/agent',
      { websocket: true, onRequest: [...onRequest, checkAgentRoom] },
      (webSocket, request) => door.accept('agent', webSocket, request, agents),
    )
  })
}

export default fp(websocketPlugin, {
  name: 'tunnel-links',
  fastify: '5.x',
  dependencies: [
    'tunnel-audit',
    'tunnel-metrics',
    'tunnel-auth',
    'tunnel-policy',
    'tunnel-ratelimit',
    'tunnel-machines',
    'tunnel-forward',
  ],
})
