import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import { LiveSettings, type Settings } from './config/index.ts'
import { type CustomPlugin, CustomPlugins, type TunnelPlugin } from './custom/index.ts'
import admin from './plugins/admin/index.ts'
import api, { buildSerializer } from './plugins/api/index.ts'
import audit, { auditGuard } from './plugins/audit/index.ts'
import auth from './plugins/auth/index.ts'
import breaker from './plugins/breaker/index.ts'
import cluster from './plugins/cluster/index.ts'
import type { Siblings } from './plugins/cluster/siblings.ts'
import docs, { docsRoutes } from './plugins/docs/index.ts'
import enrolment from './plugins/enrolment/index.ts'
import errors, { answerClientError, answerUnrouted } from './plugins/errors/index.ts'
import forward from './plugins/forward/index.ts'
import gateway, { gatewayUrls } from './plugins/gateway/index.ts'
import headers from './plugins/headers/index.ts'
import health, { healthChecks, loadGuard } from './plugins/health/index.ts'
import lifecycle, { drainOnClose } from './plugins/lifecycle/index.ts'
import links from './plugins/links/index.ts'
import logging, {
  createLogger,
  levelOfSettings,
  logToStdout,
  requestLogging,
} from './plugins/logging/index.ts'
import machines from './plugins/machines/index.ts'
import metrics, { metricsOfRoutes, metricsRoute, type WorkerMetrics } from './plugins/metrics/index.ts'
import policy, { policyInTime } from './plugins/policy/index.ts'
import pool, { poolWarmUp } from './plugins/pool/index.ts'
import ratelimit from './plugins/ratelimit/index.ts'
import settingsPlugin, { reloadOfSettings } from './plugins/settings/index.ts'
import sockets, { httpOptions } from './plugins/sockets/index.ts'
import ssh from './plugins/ssh/index.ts'
import state from './plugins/state/index.ts'
import tiers from './plugins/tiers/index.ts'
import tracing from './plugins/tracing/index.ts'
import upgrade from './plugins/upgrade/index.ts'

export { loadSettings, type Settings } from './config/index.ts'

export interface BuildOptions {
  settings: Settings
  /**
   * Custom plugins, with their options or without. One whose fastify-plugin name is that of a built-in (`tunnel-policy`)
   * takes its place, is given its options too, and has to decorate what that one does. The others are registered between
   * the services, all of which they may use, and the routes, for which their hooks hold. Those that the settings name
   * (`plugins`) have to be loaded by the caller: `loadPlugin`.
   */
  plugins?: readonly (TunnelPlugin | CustomPlugin)[]
  /** Where the settings came from, and how to read them there again (SIGHUP). */
  sources?: ReadonlyMap<string, string>
  reread?: () => { settings: Settings; sources: ReadonlyMap<string, string> }
  /** Where this process is one of several behind one port. */
  worker?: (Siblings & { othersMetrics(): Promise<WorkerMetrics[]> }) | undefined
  /** How long each plugin may take to start, in ms. @default 10_000 */
  pluginTimeoutMs?: number
  /** How many names may be looked up at once for users of configured hosts: see `AgentOptions`. @default 2 */
  lookupsAtOnce?: number
  /** Where the log goes; default stdout. */
  logStream?: {
    write(line: string): void
    readonly problem?: string | undefined
    readonly lostLines?: number
  }
}

/** No request of ours has a body to speak of. */
const MAX_BODY_BYTES = 1_024

/** The proxy, ready and not yet listening. Throws what a plugin refuses to start with; then nothing is left open. */
export async function buildServer(options: BuildOptions): Promise<FastifyInstance> {
  const { settings, plugins = [], logStream: output = logToStdout(), pluginTimeoutMs = 10_000 } = options
  const { worker, lookupsAtOnce } = options
  const { server, limits } = settings
  const urlOf = gatewayUrls(settings.gateway)
  const app: FastifyInstance = Fastify({
    ...requestLogging,
    ...httpOptions(server.tls),
    loggerInstance: createLogger(settings.log, output) as FastifyBaseLogger,
    frameworkErrors: answerUnrouted,
    clientErrorHandler: answerClientError,
    bodyLimit: MAX_BODY_BYTES,
    // A request means what it says: what a route does not know, or of another type, is refused and not made to fit.
    // What is wrong in a schema is found when it is compiled; to check it against its own schema takes a fifth of the start.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, validateSchema: false } },
    schemaController: { compilersFactory: { buildSerializer } },
    trustProxy: server.trustProxy,
    rewriteUrl: urlOf,
    pluginTimeout: pluginTimeoutMs,
  })
  const behindProxy = server.trustProxy !== false
  const { heartbeat, streams, compression, shutdown } = settings
  try {
    const chosen = new CustomPlugins(app, plugins)
    const use = chosen.use.bind(chosen)
    // The ground: what every other may need.
    const live = new LiveSettings(settings, options.sources, options.reread)
    await use('tunnel-settings', settingsPlugin, { live })
    await use('tunnel-lifecycle', lifecycle, {})
    await use('tunnel-health-checks', healthChecks, {})
    await use('tunnel-logging', logging, { slowMs: settings.request.slowMs, output })
    await use('tunnel-audit', audit, { ...settings.audit, stateDir: settings.state.dir, settings })
    await use('tunnel-log-level', levelOfSettings, settings.log)
    await use('tunnel-settings-reload', reloadOfSettings, {})
    await use('tunnel-headers', headers, { isTls: server.tls !== undefined })
    await use('tunnel-metrics', metrics, { log: output, others: worker?.othersMetrics.bind(worker) })
    await use('tunnel-tracing', tracing, settings.tracing)
    await use('tunnel-route-metrics', metricsOfRoutes, {})
    await use('tunnel-state', state, settings.state)
    // Who is asking, and what may be asked for.
    await use('tunnel-tiers', tiers, settings.tiers)
    await use('tunnel-auth', auth, settings.auth)
    await use('tunnel-policy', policy, settings.policy)
    await use('tunnel-policy-in-time', policyInTime, settings.request)
    await use('tunnel-ratelimit', ratelimit, { ...settings.rateLimit, behindProxy })
    // Connections, and the answers to what goes wrong on them.
    await use('tunnel-sockets', sockets, {
      max: server.maxSockets,
      perAddress: server.socketsPerIp,
      behindProxy,
      tls: server.tls,
    })
    await use('tunnel-errors', errors, {})
    await use('tunnel-upgrade', upgrade, {
      maxFrameBytes: limits.maxFrameBytes,
      compress: compression.enabled,
      urlOf,
    })
    // The way to a machine.
    await use('tunnel-breaker', breaker, settings.breaker)
    const { probeMs } = settings.health
    const { machines: configured } = settings
    await use('tunnel-machines', machines, { configured, streams, probeMs, lookupsAtOnce })
    await use('tunnel-ssh', ssh, settings.ssh)
    await use('tunnel-pool', pool, settings.pool)
    await use('tunnel-forward', forward, { request: settings.request, streams: settings.streams })
    await use('tunnel-pool-warm-up', poolWarmUp, settings.pool)
    await use('tunnel-load-guard', loadGuard, settings.health)
    await use('tunnel-audit-guard', auditGuard, settings.audit)
    await chosen.registerOthers()
    await use('tunnel-docs', docs, { docs: server.docs })
    // The doors.
    const isOneOfSeveral = settings.cluster.enabled
    const { origins } = server
    const { spreadMs, turnMs } = settings.drain
    const ways = { heartbeat, streams, limits, compression, shutdown }
    const linkOptions = { ...ways, origins, isOneOfSeveral, spreadMs }
    await use('tunnel-links', links, linkOptions)
    const { maxFrameBytes } = limits
    const { resumeMs } = streams
    const relay = { host: server.host, maxFrameBytes, resumeMs, turnMs, siblings: worker }
    await use('tunnel-cluster', cluster, { ...settings.cluster, ...relay })
    await use('tunnel-gateway', gateway, settings.gateway)
    await use('tunnel-api', api, { origins: server.origins })
    await use('tunnel-enrolment', enrolment, settings.enrolment)
    await use('tunnel-admin', admin, {})
    await use('tunnel-docs-page', docsRoutes, { docs: server.docs })
    await use('tunnel-health', health, {})
    await use('tunnel-metrics-route', metricsRoute, { ...settings.metrics, behindProxy })
    await use('tunnel-drain-on-close', drainOnClose, {})
    await app.ready()
    return app
  } catch (error) {
    await app.close()
    throw error
  }
}
