import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { HealthChecks } from './checks.ts'
import { overloaded } from './errors.ts'
import { Load } from './load.ts'
import type { HealthOptions } from './options.ts'
import { liveness, readiness } from './schemas.ts'

export type { CheckResult, HealthCheck, HealthChecks } from './checks.ts'

declare module 'fastify' {
  interface FastifyInstance {
    health: HealthChecks
  }
}

/** How long the answer of a write to the state holds, in ms: each is an fsync, and anybody may ask. */
const STATE_PROBE_MS = 2_000

/** `work` at most once in each `forMs`; who asks in between has the same answer. */
function once(forMs: number, work: () => Promise<void>): () => Promise<void> {
  let last: { atMs: number; answer: Promise<void> } | undefined
  return () => {
    const now = performance.now()
    if (last === undefined || now - last.atMs >= forMs) last = { atMs: now, answer: work() }
    return last.answer
  }
}

/** The service part: registered early, so that every later plugin can add its checks. */
export const healthChecks = fp(
  async (app: FastifyInstance) => {
    app.decorate('health', new HealthChecks())
  },
  { name: 'tunnel-health-checks', fastify: '5.x' },
)

/**
 * While the process is too busy no stream is opened, whether over a link or by a route. Those that are open go on, and
 * links are let in: somebody's stream may be waiting to be resumed over one.
 */
export const loadGuard = fp<HealthOptions>(
  async (app, options) => {
    const load = new Load(options)
    app.addHook('onClose', async () => load.close())
    app.health.addCheck('eventLoop', () => (load.isLate ? 'the event loop is late' : undefined))
    app.health.addCheck('memory', () => (load.isFull ? 'memory runs out' : undefined))
    app.tunnelMetrics.onRead(() => app.tunnelMetrics.eventLoopLagSeconds.set({}, load.lagMs / 1_000))
    app.tunnel.addHook('preOpen', () => {
      if (load.isLate) throw overloaded('its event loop is late', options.retryAfterMs)
      if (load.isFull) throw overloaded('its memory runs out', options.retryAfterMs)
    })
  },
  {
    name: 'tunnel-load-guard',
    fastify: '5.x',
    dependencies: ['tunnel-health-checks', 'tunnel-metrics', 'tunnel-forward'],
  },
)

async function healthRoutes(app: FastifyInstance): Promise<void> {
  app.health.addCheck('accepting', () => (app.lifecycle.draining ? 'this proxy is shutting down' : undefined))
  // State that replicas share is away for all of them at once: were none of them ready, nobody would reach a machine.
  const isShared = app.state.staleMs !== undefined
  // A write: a full disk is still read.
  const probeState = once(STATE_PROBE_MS, () => app.state.put('health', 'probe', Date.now()))
  app.health.addCheck('state', async () => {
    if (!isShared) await probeState()
    return undefined
  })

  app.tunnelMetrics.onRead(async () => {
    const { checks } = await app.health.run()
    for (const [check, { status }] of Object.entries(checks))
      app.tunnelMetrics.healthCheckOk.set({ check }, status === 'ok' ? 1 : 0)
  })

  const startedMs = performance.now()
  const uptimeSeconds = () => Math.floor((performance.now() - startedMs) / 1_000)
  app.addHook('onRequest', app.limitProbesByIp)
  const routes = app.withTypeProvider<TypeBoxTypeProvider>()
  routes.get('/api/tunnel/health', { schema: liveness }, async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    return { status: 'ok' as const, uptimeSeconds: uptimeSeconds() }
  })
  routes.get('/api/tunnel/health/ready', { schema: readiness }, async (_request, reply) => {
    const { ready, checks } = await app.health.run()
    reply.code(ready ? 200 : 503).header('cache-control', 'no-store')
    return {
      status: ready ? ('ready' as const) : ('unready' as const),
      uptimeSeconds: uptimeSeconds(),
      checks,
    }
  })
}

export default fp(healthRoutes, {
  name: 'tunnel-health',
  fastify: '5.x',
  encapsulate: true,
  dependencies: [
    'tunnel-health-checks',
    'tunnel-lifecycle',
    'tunnel-metrics',
    'tunnel-state',
    'tunnel-ratelimit',
  ],
})
