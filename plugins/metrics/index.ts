import type { FastifyInstance, FastifyRequest } from 'fastify'
import fastifyMetrics from 'fastify-metrics'
import fp from 'fastify-plugin'
import { checkReader, type MetricsAccess } from './access.ts'
import { createMetrics, createRegistry, type TunnelMetrics, type WorkerMetrics } from './metrics.ts'
import { readMetrics } from './schemas.ts'
import { OPENMETRICS_TYPE, PROMETHEUS_TYPE, wantsOpenMetrics } from './text.ts'

export type { Count, Level, NoLabels, Spread } from './instruments.ts'
export type { TunnelMetrics, WorkerMetrics } from './metrics.ts'

declare module 'fastify' {
  interface FastifyInstance {
    tunnelMetrics: TunnelMetrics
  }
}

/**
 * Routes of links: their requests last as long as the link, which says nothing about requests. What the gateway passes on
 * is a stream, and measured as one.
 */
const LINK_ROUTES =
  /^\/api\/tunnel\/((connect|agent|relay)(\/stream(\/up)?)?|machines\/:machine\/http\/:port\/\*)$/

export interface MetricsServiceOptions {
  /** Where the log goes, which cannot say itself how much of it is missing. */
  log?: { readonly lostLines?: number | undefined } | undefined
  /** The metrics of other workers, which are told with this one's. */
  others?: (() => Promise<WorkerMetrics[]>) | undefined
}

/** The service: there for every plugin, whoever may read it. */
async function metricsService(app: FastifyInstance, { log, others }: MetricsServiceOptions): Promise<void> {
  // One registry a server, not the module's global one: a process may hold several servers, as tests do.
  const metrics = createMetrics(createRegistry(), others)
  app.decorate('tunnelMetrics', metrics)
  metrics.follow(metrics.logLinesLost, () => log?.lostLines)
}

/** The times of every route, so that its hooks sit here and not in the scope of our own route. */
async function routeTimes(app: FastifyInstance): Promise<void> {
  const { registry } = app.tunnelMetrics
  await app.register(fastifyMetrics.default, {
    endpoint: null,
    name: 'routeMetrics',
    defaultMetrics: { enabled: false },
    routeMetrics: {
      enabled: { histogram: true, summary: false },
      routeBlacklist: [LINK_ROUTES],
      overrides: { histogram: { registers: [registry] }, summary: { registers: [] } },
    },
  })
}

async function metricsRoutes(app: FastifyInstance, options: MetricsAccess): Promise<void> {
  const mayRead = async (request: FastifyRequest): Promise<void> => {
    checkReader(options, { remoteAddress: request.socket.remoteAddress, headers: request.headers })
  }
  const onRequest = [app.limitByIp, mayRead]
  app.get('/api/tunnel/metrics', { schema: readMetrics, onRequest }, async (request, reply) => {
    reply.header('cache-control', 'no-store').header('vary', 'accept')
    return wantsOpenMetrics(request.headers.accept)
      ? reply.type(OPENMETRICS_TYPE).send(await app.tunnelMetrics.read('openmetrics'))
      : reply.type(PROMETHEUS_TYPE).send(await app.tunnelMetrics.read())
  })
}

export default fp(metricsService, { name: 'tunnel-metrics', fastify: '5.x' })

export const metricsOfRoutes = fp(routeTimes, {
  name: 'tunnel-route-metrics',
  fastify: '5.x',
  dependencies: ['tunnel-metrics'],
})

export const metricsRoute = fp(metricsRoutes, {
  name: 'tunnel-metrics-route',
  fastify: '5.x',
  encapsulate: true,
  dependencies: ['tunnel-metrics', 'tunnel-ratelimit'],
})
