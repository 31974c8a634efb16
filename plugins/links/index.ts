import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import { AgentLinks } from './agents.ts'
import { ClientLinks } from './clients.ts'
import { LinkDoor, unsentBytes } from './door.ts'
import { notAnUpgrade, shuttingDown, subprotocolMissing } from './errors.ts'
import type { WebSocketPluginOptions } from './options.ts'

export interface Links {
  /** Links that stand. */
  readonly count: number
}

declare module 'fastify' {
  interface FastifyInstance {
    links: Links
  }
}

async function websocketPlugin(app: FastifyInstance, options: WebSocketPluginOptions): Promise<void> {
  const door = new LinkDoor(app, options)
  const clients = new ClientLinks(app, options.limits.linksPerUser)
  const agents = new AgentLinks(app, options.limits.agentLinksPerUser, () => app.lifecycle.draining)

  const links: Links = {
    get count() {
      return door.links.size
    },
  }
  app.decorate('links', links)

  app.lifecycle.onDrain('stop accepting', ({ deadlineMs }) => door.sendAway(deadlineMs, shuttingDown()))
  app.lifecycle.onDrain('wait', ({ over }) => door.clientsLeave(over, () => app.forward.areUsed(door.links)))
  app.lifecycle.onDrain('close', () => door.close(shuttingDown()))

  app.tunnelMetrics.onRead(() => {
    app.tunnelMetrics.linkSendBufferBytes.set({}, unsentBytes(door.links.keys()))
  })

  async function checkUpgrade(request: FastifyRequest): Promise<void> {
    if (!request.ws) throw notAnUpgrade()
    const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
    if (!offered?.includes(SUBPROTOCOL)) throw subprotocolMissing()
    if (app.lifecycle.draining) throw shuttingDown()
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
    'tunnel-lifecycle',
    'tunnel-upgrade',
    'tunnel-audit',
    'tunnel-metrics',
    'tunnel-auth',
    'tunnel-policy',
    'tunnel-ratelimit',
    'tunnel-machines',
    'tunnel-forward',
  ],
})
