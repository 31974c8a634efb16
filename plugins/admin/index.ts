import type { OutgoingHttpHeaders } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { StreamReport } from '../forward/index.ts'
import { configRoutes } from './config.ts'
import { Diagnostics } from './diagnostics.ts'
import { agentMayNotSee, linkUnknown, sessionUnknown, watchedElsewhere } from './errors.ts'
import { Everywhere, type Found, type Placed } from './everywhere.ts'
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

  const everywhere = new Everywhere(app)
  const diagnostics = new Diagnostics(app, everywhere)

  /** A stream of this replica's. @throws {TunnelError} UNKNOWN_STREAM; REQUEST_INVALID where another one has it */
  async function sessionHere(request: FastifyRequest, wanted: string): Promise<StreamReport> {
    const isWanted = ({ id }: StreamReport): boolean => id === wanted
    const session = app.forward.overview.list(seenBy(request)).find(isWanted)
    if (session !== undefined) return session
    const elsewhere = (await everywhere.sessions(seenBy(request))).all.find(isWanted)
    throw elsewhere?.replica === undefined ? sessionUnknown() : watchedElsewhere(elsewhere.replica)
  }

  /** Which replicas did not answer, and which had more than fits. */
  function tellMissing(reply: FastifyReply, { missing, cut, replicas }: Omit<Found<unknown>, 'all'>): void {
    const list = (ids: readonly string[]): string => ids.map(encodeURIComponent).join(', ')
    if (cut.length > 0) reply.header(schemas.CUT_HEADER, list(cut))
    if (missing.length === 0) return
    reply.header(schemas.MISSING_HEADER, list(missing))
    reply.header(schemas.REPLICAS_HEADER, replicas)
  }

  function complete<T>(reply: FastifyReply, found: Found<T>): Placed<T>[] {
    tellMissing(reply, found)
    return found.all
  }

  routes.get('/api/tunnel/sessions', { schema: schemas.listSessions }, async (request, reply) =>
    complete(reply, await everywhere.sessions(seenBy(request))),
  )

  routes.get('/api/tunnel/links', { schema: schemas.listLinks }, async (request, reply) =>
    complete(reply, await everywhere.links(seenBy(request))),
  )

  routes.delete(
    '/api/tunnel/links/:id',
    { schema: schemas.endLink, onRequest: app.requireRecord },
    async (request, reply) => {
      const { user, params, id: correlationId } = request
      const link = await everywhere.endLink({ id: params.id, whose: seenBy(request), by: user.sub })
      if (link === undefined) throw linkUnknown()
      const { role, connectionId, machine, replica } = link
      app.audit.record({
        ...{ event: 'link.ended', userId: link.user, correlationId },
        ...(machine !== undefined && { machine }),
        details: { role, connectionId, by: user.sub, ...(replica !== undefined && { replica }) },
      })
      return reply.code(204).send(null)
    },
  )

  routes.delete(
    '/api/tunnel/sessions/:id',
    { schema: schemas.endSession, onRequest: app.requireRecord },
    async (request, reply) => {
      const { user, params, id: correlationId } = request
      const session = await everywhere.endSession({ id: params.id, whose: seenBy(request), by: user.sub })
      if (session === undefined) throw sessionUnknown()
      const { id, machine, kind, replica } = session
      const details = { streamId: id, kind, by: user.sub, ...(replica !== undefined && { replica }) }
      app.audit.record({ event: 'stream.ended', userId: session.user, machine, correlationId, details })
      return reply.code(204).send(null)
    },
  )

  routes.get(
    '/api/tunnel/sessions/:id/watch',
    { schema: schemas.watchSession, onRequest: app.requireRecord },
    async (request, reply) => {
      const { user, params, id: correlationId } = request
      const session = await sessionHere(request, params.id)
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

  routes.get('/api/tunnel/diagnostics', { schema: schemas.diagnostics }, async (request, reply) => {
    const { answer, ...asked } = await diagnostics.of(seenBy(request))
    tellMissing(reply, asked)
    return answer
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
