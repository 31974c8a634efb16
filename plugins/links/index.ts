import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import type { AuthHook } from '../auth/index.ts'
import { AgentLinks } from './agents.ts'
import { ClientLinks } from './clients.ts'
import { LinkDoor, unsentBytes } from './door.ts'
import { notAnUpgrade, originRefused, shuttingDown, subprotocolMissing } from './errors.ts'
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

/**
 * Whether pages of `origin` may connect: those of this proxy itself and those that are listed. What is no browser sends
 * none. Tokens are never sent by a browser on its own, so this is a second fence (RFC 6455, section 10.2).
 */
function isOriginAllowed(origin: string, host: string, listed: readonly string[]): boolean {
  if (listed.includes(origin)) return true
  return URL.canParse(origin) && new URL(origin).host === host
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
  const stop = app.auth.onRevoked((isRevoked, error) => door.revoked(isRevoked, error))
  app.addHook('onClose', async () => stop())

  app.tunnelMetrics.onRead(() => {
    app.tunnelMetrics.linkSendBufferBytes.set({}, unsentBytes(door.links.keys()))
  })

  async function checkUpgrade(request: FastifyRequest): Promise<void> {
    if (!request.ws) throw notAnUpgrade()
    const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
    if (!offered?.includes(SUBPROTOCOL)) throw subprotocolMissing()
    if (app.lifecycle.draining) throw shuttingDown()
  }

  // Before anything is asked of a token or ticket: a page that may not connect must not use one up.
  async function checkOrigin({ headers: { origin }, host }: FastifyRequest): Promise<void> {
    if (origin !== undefined && !isOriginAllowed(origin, host, options.origins)) throw originRefused(origin)
  }

  const onRequest = (identify: AuthHook) => [app.limitByIp, checkOrigin, identify, checkUpgrade]
  const checkRoom = async (request: FastifyRequest): Promise<void> => clients.checkRoom(request.user)

  await app.register(async (routes) => {
    routes.get(
      '/api/tunnel/connect',
      { websocket: true, onRequest: [...onRequest(app.requireUserOrTicket), checkRoom] },
      (webSocket, request) => door.accept('client', webSocket, request, clients),
    )
    const checkAgentRoom = async (request: FastifyRequest): Promise<void> => agents.checkRoom(request.user)
    routes.get(
      '/api/tunnel/agent',
      { websocket: true, onRequest: [...onRequest(app.requireUser), checkAgentRoom] },
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
