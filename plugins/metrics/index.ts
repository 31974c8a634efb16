import type { FastifyInstance } from 'fastify'
import fastifyMetrics from 'fastify-metrics'
import fp from 'fastify-plugin'
import client from 'prom-client'
import { checkReader, type MetricsAccess } from './access.ts'
import { createMetrics, type TunnelMetrics } from './metrics.ts'

export type { Count, Level, NoLabels, Spread, TunnelMetrics } from './metrics.ts'

declare module 'fastify' {
  interface FastifyInstance {
    tunnelMetrics: TunnelMetrics
  }
}

/** Routes of links: their requests last as long as the link, which is no duration of a request. */
const LINK_ROUTES = /^\/api\/tunnel\/(connect|agent|relay)$/

async function metricsPlugin(app: FastifyInstance, options: MetricsAccess): Promise<void> {
  // One registry a server, not the module's global one: a process may hold several servers, as tests do.
  const registry = new client.Registry()
  const metrics = createMetrics(registry)
  app.decorate('tunnelMetrics', metrics)

  // What fastify-metrics times is every route's, so its hooks sit here and not in the scope of our own route.
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

  await app.register(async (scope) => {
    scope.get(
      '/api/tunnel/metrics',
      {
        logLevel: 'error',
        onRequest: async (request, reply) => {
          await app.limitByIp?.(request, reply)
          checkReader(options, { remoteAddress: request.socket.remoteAddress, headers: request.headers })
        },
      },
      async (_request, reply) => {
        const text = await metrics.read()
        return reply.type(metrics.contentType).header('cache-control', 'no-store').send(text)
      },
    )
  })
}

export default fp(metricsPlugin, { name: 'tunnel-metrics', fastify: '5.x' })
