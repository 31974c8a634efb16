import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { NOT_HEADER, SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import { PROTOCOL_HEADER, STREAM_TYPE } from '../../protocol/link/dial-http.ts'
import { OFFSET_HEADER, SESSION_HEADER } from '../../protocol/link/http-uplink.ts'
import { WebSocketTransport } from '../../protocol/node/websocket.ts'
import type { User } from '../auth/index.ts'
import { AgentLinks } from './agents.ts'
import { ClientLinks } from './clients.ts'
import { LinkDoor } from './door.ts'
import {
  alreadyHome,
  leaving,
  notAnUpgrade,
  offsetInvalid,
  originRefused,
  sessionUnknown,
  subprotocolMissing,
} from './errors.ts'
import { type HttpSession, HttpSessions } from './http-session.ts'
import type { WebSocketPluginOptions } from './options.ts'
import { describe, type LinkReport, unsentBytes } from './reports.ts'
import { openStream, postToStream } from './schemas.ts'
import { Turns } from './turns.ts'

export type { LinkReport } from './reports.ts'

export interface Links {
  /** Links that stand. */
  readonly count: number
  /** Those of one user, or of all. */
  list(userId?: string): LinkReport[]
  /** Ends the link of this `connectionId`, of one user or of anybody, and says what it was. */
  end(connectionId: string, userId: string | undefined, error: TunnelError): LinkReport | undefined
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
  const sessions = new HttpSessions()
  /** Of posts that are under way. */
  const sessionOf = new WeakMap<FastifyRequest, HttpSession>()
  const clients = new ClientLinks(app)
  const agents = new AgentLinks(app, () => app.lifecycle.draining)

  // Where there is another one to go to, at once.
  const refusal = () => leaving(options.isOneOfSeveral ? 0 : undefined)

  const links: Links = {
    get count() {
      return door.links.size
    },
    list(userId) {
      const all = [...door.links].filter(([, { user }]) => userId === undefined || user.sub === userId)
      return all.map(([link, context]) => describe(link, context))
    },
    end(connectionId, userId, error) {
      for (const [link, context] of door.links) {
        const isTheirs = userId === undefined || context.user.sub === userId
        if (context.connectionId !== connectionId || !isTheirs) continue
        const report = describe(link, context)
        link.close(error)
        return report
      }
      return undefined
    },
  }
  app.decorate('links', links)

  app.lifecycle.onDrain('stop accepting', ({ leftMs }) => door.sendAway(leftMs, leaving()))
  app.lifecycle.onDrain('wait', ({ over }) => door.clientsLeave(over, leaving()))
  app.lifecycle.onDrain('close', () => door.close(leaving()))
  const stop = app.auth.onRevoked((isRevoked, error) => door.revoked(isRevoked, error))
  app.addHook('onClose', async () => {
    stop()
    door.clear()
  })

  // For users without a link, too, those who have one take turns.
  app.addHook('onResponse', async ({ user }: { user: User | undefined }) => {
    if (user !== undefined) door.work.seen(user.sub)
  })
  app.tunnelMetrics.onRead(() => {
    app.tunnelMetrics.linkSendBufferBytes.set({}, unsentBytes(door.links.keys()))
  })

  async function checkUpgrade(request: FastifyRequest): Promise<void> {
    if (!request.ws) throw notAnUpgrade()
    const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
    if (!offered?.includes(SUBPROTOCOL)) throw subprotocolMissing()
    if (app.lifecycle.draining) throw refusal()
  }

  async function checkStream({ headers }: FastifyRequest): Promise<void> {
    if (headers[PROTOCOL_HEADER] !== SUBPROTOCOL) throw subprotocolMissing()
    if (app.lifecycle.draining) throw refusal()
  }

  // Before anything is asked of a token or ticket: a page that may not connect must not use one up.
  async function checkOrigin({ headers: { origin }, host }: FastifyRequest): Promise<void> {
    if (origin !== undefined && !isOriginAllowed(origin, host, options.origins)) throw originRefused(origin)
  }

  /** An agent that has a link to this replica wants one to another. */
  async function checkHome({ headers: { [NOT_HEADER]: not } }: FastifyRequest): Promise<void> {
    if (typeof not === 'string' && not.split(',').includes(door.instance)) throw alreadyHome()
  }

  /** Whoever posts without a session is a stranger. */
  async function checkSession(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { headers, raw } = request
    const session = sessions.find(headers[SESSION_HEADER], headers.authorization)
    if (session !== undefined) {
      app.letIn(raw.socket, reply.raw)
      sessionOf.set(request, session)
      return
    }
    reply.header('connection', 'close')
    await app.limitByIp(request, reply)
    throw sessionUnknown()
  }

  const doors = [
    { role: 'client', path: '/api/tunnel/connect', handler: clients, identify: app.requireUserOrTicket },
    { role: 'agent', path: '/api/tunnel/agent', handler: agents, identify: app.requireUser },
  ] as const
  await app.register(async (routes) => {
    // Its bytes are taken as they come.
    routes.addContentTypeParser(STREAM_TYPE, (_request, body, done) => done(null, body))
    for (const { role, path, handler, identify } of doors) {
      // Of its own: users are not to wait behind thousands of machines.
      const turns = new Turns()
      const checkRoom = async (request: FastifyRequest): Promise<void> => handler.checkRoom(request.user)
      const checks = (check: (request: FastifyRequest) => Promise<void>) => [
        app.limitByIp,
        checkOrigin,
        ({ raw }: FastifyRequest) => turns.arrive(raw.socket),
        identify,
        app.limitLinksByUser,
        () => turns.next('known'),
        ...(role === 'agent' ? [app.requireAgentCertificate, checkHome] : []),
        check,
        checkRoom,
      ]
      routes.get(path, { websocket: true, onRequest: checks(checkUpgrade) }, (webSocket, request) => {
        request.socket.setNoDelay(true)
        const compression = options.compression.enabled ? options.compression : undefined
        const transport = new WebSocketTransport(webSocket, request.socket, compression, turns.leave)
        door.accept(role, { transport, request, handler, turns })
      })
      routes.post(
        `${path}/stream`,
        { schema: openStream, onRequest: checks(checkStream) },
        async (request, reply) => {
          reply.hijack()
          // Its end was told while its token was looked at, and will not be again.
          if (reply.raw.closed) return
          app.letIn(request.socket, reply.raw)
          const { authorization } = request.headers
          const session = sessions.open(reply.raw, authorization, options.limits.maxFrameBytes)
          session.begin(reply.raw, { 'x-correlation-id': request.id })
          const link = door.accept(role, { transport: session.transport, request, handler, turns })
          session.onPost = () => link.charge(POST_COST)
        },
      )
      routes.post(
        `${path}/stream/up`,
        { schema: postToStream, onRequest: checkSession },
        async (request, reply) => {
          const session = sessionOf.get(request) as HttpSession
          try {
            await session.take(offsetOf(request.headers[OFFSET_HEADER]), request.raw)
          } catch (error) {
            // What is left of its body is not worth reading.
            reply.header('connection', 'close')
            throw error
          }
          return reply.code(204).send()
        },
      )
    }
  })
}

/** What a post costs whoever reads it, in µs, beside the frames in it. */
const POST_COST = 100

/** @throws {TunnelError} REQUEST_INVALID */
function offsetOf(header: string | string[] | undefined): number {
  const offset = typeof header === 'string' && /^\d{1,15}$/.test(header) ? Number(header) : Number.NaN
  if (Number.isSafeInteger(offset)) return offset
  throw offsetInvalid()
}

export default fp(websocketPlugin, {
  name: 'tunnel-links',
  fastify: '5.x',
  dependencies: [
    'tunnel-sockets',
    'tunnel-lifecycle',
    'tunnel-upgrade',
    'tunnel-audit',
    'tunnel-metrics',
    'tunnel-tracing',
    'tunnel-auth',
    'tunnel-tiers',
    'tunnel-policy',
    'tunnel-ratelimit',
    'tunnel-machines',
    'tunnel-forward',
  ],
})
