import type { OutgoingHttpHeaders } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { packageVersion } from '../../dial/software.ts'
import type { StreamReport } from '../forward/index.ts'
import { configRoutes } from './config.ts'
import { agentMayNotSee, endedByRequest, sessionUnknown } from './errors.ts'
import { Onlooker, Onlookers } from './onlooker.ts'
import * as schemas from './schemas.ts'

/** That one answer lists, of several replicas. */
const MAX_MACHINES = 1_000

async function adminPlugin(app: FastifyInstance): Promise<void> {
  app.addHook('onRequest', app.limitByIp)
  await app.register(configRoutes)
  await app.register(liveRoutes)
}

/** Whose things a caller sees: an administrator everybody's, any other their own. */
function seenBy({ user }: FastifyRequest): string | undefined {
  return user.roles.includes('admin') ? undefined : user.sub
}

/** What is there now. */
async function liveRoutes(app: FastifyInstance): Promise<void> {
  app.addHook('onRequest', app.requireUser)
  app.addHook('onRequest', app.limitByUser)
  app.addHook('onRequest', async ({ user }) => {
    if (user.roles.includes('agent')) throw agentMayNotSee()
  })
  const routes = app.withTypeProvider<TypeBoxTypeProvider>()
  const onlookers = new Onlookers()

  /** @throws {TunnelError} UNKNOWN_STREAM */
  function sessionOf(request: FastifyRequest, wanted: string): StreamReport {
    const session = app.forward.overview.list(seenBy(request)).find(({ id }) => id === wanted)
    if (session === undefined) throw sessionUnknown()
    return session
  }

  routes.get('/api/tunnel/sessions', { schema: schemas.listSessions }, async (request) =>
    app.forward.overview.list(seenBy(request)),
  )

  routes.delete(
    '/api/tunnel/sessions/:id',
    { schema: schemas.endSession, onRequest: app.requireRecord },
    async (request, reply) => {
      const { user, params, id: correlationId } = request
      const session = sessionOf(request, params.id)
      const { id, machine, kind } = session
      // Ids are of their openers' making: another user's stream may have the same.
      const isMeant = (stream: { id: string; user: { sub: string } }): boolean =>
        stream.id === id && stream.user.sub === session.user
      app.forward.end(isMeant, endedByRequest(session.user === user.sub))
      const details = { streamId: id, kind, by: user.sub }
      app.audit.record({ event: 'stream.ended', userId: session.user, machine, correlationId, details })
      return reply.code(204).send(null)
    },
  )

  routes.get(
    '/api/tunnel/sessions/:id/watch',
    { schema: schemas.watchSession, onRequest: app.requireRecord },
    async (request, reply) => {
      const { user, params, id: correlationId } = request
      const session = sessionOf(request, params.id)
      const giveBack = onlookers.take(user.sub)
      const onlooker = new Onlooker(reply.raw, () => app.auth.check(user))
      void onlooker.gone.then(giveBack)
      const leave = app.forward.overview.watch(session.id, session.user, onlooker)
      if (leave === undefined) throw sessionUnknown()
      const { id, machine, kind } = session
      const details = { streamId: id, kind, by: user.sub }
      const record = (event: string, more = {}): void =>
        app.audit.record({
          event,
          userId: session.user,
          machine,
          correlationId,
          details: { ...details, ...more },
        })
      record('stream.watched')
      reply.hijack()
      const headers = {
        ...reply.getHeaders(),
        'content-type': 'application/x-ndjson',
        'cache-control': 'no-store',
      }
      reply.raw.writeHead(200, headers as OutgoingHttpHeaders)
      reply.raw.flushHeaders()
      await onlooker.gone
      leave()
      record('stream.unwatched', { shownBytes: onlooker.totalBytes })
    },
  )

  routes.put(
    '/api/tunnel/circuits',
    { schema: schemas.setCircuit, onRequest: [app.requireRole('admin'), app.requireRecord] },
    async ({ user: { sub }, body: { user, machine, owner = user, state } }, reply) => {
      app.breaker.set({ user, owner, machine }, state, sub)
      return reply.code(204).send(null)
    },
  )

  const startedMs = performance.now()
  routes.get('/api/tunnel/diagnostics', { schema: schemas.diagnostics }, async (request) => {
    const whose = seenBy(request)
    const isTheirs = ({ user }: { user: string }): boolean => whose === undefined || user === whose
    const users = app.forward.overview.usage(whose)
    return {
      version: packageVersion(),
      uptimeSeconds: Math.floor((performance.now() - startedMs) / 1_000),
      links: app.links.list(whose),
      sessions: app.forward.overview.list(whose),
      pool: app.pool.states(whose),
      connections: app.pool.connections(whose),
      waiting: users.reduce((sum, { user }) => sum + app.pool.waiting(user), 0),
      waits: app.pool.waits(whose),
      circuits: app.breaker.states().filter(isTheirs),
      errors: app.forward.overview.recentErrors(whose),
      users,
      ...(app.cluster !== undefined && { replica: app.cluster.id }),
      ...(whose === undefined && app.cluster !== undefined && { replicas: app.cluster.list() }),
    }
  })

  routes.get(
    '/api/tunnel/cluster',
    { schema: schemas.getCluster, onRequest: app.requireRole('admin') },
    async () =>
      app.cluster === undefined
        ? { enabled: false }
        : { enabled: true, ...app.cluster.overview(MAX_MACHINES) },
  )
}

export default fp(adminPlugin, {
  name: 'tunnel-admin',
  fastify: '5.x',
  encapsulate: true,
  dependencies: [
    ...['tunnel-settings', 'tunnel-audit', 'tunnel-audit-guard', 'tunnel-auth', 'tunnel-ratelimit'],
    'tunnel-errors',
    ...['tunnel-breaker', 'tunnel-pool', 'tunnel-forward', 'tunnel-links', 'tunnel-cluster'],
  ],
})
