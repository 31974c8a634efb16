import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import fastifyWebsocket from '@fastify/websocket'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyPluginCallback,
} from 'fastify'
import type { Settings } from './config/index.ts'
import api from './plugins/api/index.ts'
import audit from './plugins/audit/index.ts'
import auth from './plugins/auth/index.ts'
import breaker from './plugins/breaker/index.ts'
import errors, { answerClientError, rawProblem, sendProblem } from './plugins/errors/index.ts'
import forward from './plugins/forward/index.ts'
import health, { healthChecks } from './plugins/health/index.ts'
import websocket, { filterUpgrades, webSocketFailed } from './plugins/links/index.ts'
import logging, { CORRELATION_HEADER, createLogger, requestLogging } from './plugins/logging/index.ts'
import machines from './plugins/machines/index.ts'
import metrics from './plugins/metrics/index.ts'
import policy from './plugins/policy/index.ts'
import pool from './plugins/pool/index.ts'
import ratelimit from './plugins/ratelimit/index.ts'
import ssh from './plugins/ssh/index.ts'
import state from './plugins/state/index.ts'

import { TunnelError } from './protocol/codec/errors.ts'

export { loadSettings, type Settings } from './config/index.ts'

type Plugin<Options extends object = object> = FastifyPluginAsync<Options> | FastifyPluginCallback<Options>

export interface BuildOptions {
  settings: Settings
  /**
   * Custom plugins. One whose fastify-plugin name is that of a built-in (`tunnel-policy`) takes its place, with its
   * options, and has to decorate what that one does. The others are registered between the services, all of which they
   * may use, and the routes, for which their hooks hold.
   */
  plugins?: readonly Plugin[]
  /** Where the log goes; default stdout. */
  logStream?: { write(line: string): void }
}

/** An idle connection is kept this long, in ms: longer than most clients wait between requests, too short to delay a close. */
const KEEP_ALIVE_MS = 5_000

/** How long a request may take to arrive, in ms; none of ours has a body to speak of. */
const REQUEST_MS = 60_000
const MAX_BODY_BYTES = 1_024

/** Told to peers in HELLO. */
const SOFTWARE = `ssh-websocket-tunnel proxy (node ${process.versions.node})`

/** Close code of a link that a restart ends (IANA's registry of WebSocket close codes). */
const RESTARTING = 1012
/** What the peer of such a link has to answer, in ms. */
const CLOSE_MS = 1_000

/** The proxy, ready and not yet listening. Throws what a plugin refuses to start with; then nothing is left open. */
export async function buildServer({
  settings,
  plugins = [],
  logStream,
}: BuildOptions): Promise<FastifyInstance> {
  const { server, limits } = settings
  const app: FastifyInstance = Fastify({
    ...requestLogging,
    loggerInstance: createLogger(settings.log, logStream) as FastifyBaseLogger,
    frameworkErrors: sendProblem,
    clientErrorHandler: answerClientError,
    requestTimeout: REQUEST_MS,
    bodyLimit: MAX_BODY_BYTES,
    trustProxy: server.trustProxy,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: 'idle',
    ...tlsOptions(server.tls),
  })
  const own = new Map(plugins.map((plugin) => [nameOf(plugin), plugin]))
  const replaced = new Set<unknown>()
  /** A built-in plugin, or the custom one of its name. */
  const use = async <Options extends object>(name: string, plugin: Plugin<Options>, options: Options) => {
    const chosen = (own.get(name) as Plugin<Options> | undefined) ?? plugin
    replaced.add(chosen)
    await app.register(chosen as FastifyPluginAsync<object>, options)
  }
  try {
    // Before anything that can refuse an upgrade, or a refused one leaks its socket.
    await app.register(fastifyWebsocket, {
      options: { maxPayload: limits.maxFrameBytes, perMessageDeflate: settings.compression.enabled },
      errorHandler: webSocketFailed,
      // Its own would close every link at once and without a code; whoever has links drains them in its `preClose`.
      preClose: (done: () => void) => done(),
    })
    app.websocketServer.on('headers', addCorrelationId)
    filterUpgrades(app, (request, socket, error) => {
      socket.end(rawProblem(error, error.statusCode, requestLogging.genReqId(request)))
    })

    await use('tunnel-errors', errors, {})
    await use('tunnel-logging', logging, { slowMs: settings.request.slowMs })
    await use('tunnel-audit', audit, { dir: settings.state.dir })
    const behindProxy = server.trustProxy !== false
    await use('tunnel-metrics', metrics, { ...settings.metrics, behindProxy })
    await use('tunnel-health-checks', healthChecks, {})
    await use('tunnel-state', state, settings.state)
    await use('tunnel-auth', auth, settings.auth)
    await use('tunnel-policy', policy, settings.policy)
    await use('tunnel-ratelimit', ratelimit, settings.rateLimit)
    await use('tunnel-breaker', breaker, settings.breaker)
    await use('tunnel-machines', machines, { configured: settings.machines, streams: settings.streams })
    await use('tunnel-ssh', ssh, settings.ssh)
    await use('tunnel-pool', pool, settings.pool)
    await use('tunnel-forward', forward, settings.request)
    for (const plugin of plugins) if (!replaced.has(plugin)) await registerCustom(app, plugin)
    const { heartbeat, streams, compression, shutdown } = settings
    await use('tunnel-links', websocket, {
      heartbeat,
      streams,
      limits,
      compression,
      shutdown,
      software: SOFTWARE,
    })
    await use('tunnel-api', api, {})
    await use('tunnel-health', health, {})
    app.addHook('preClose', () => endWebSockets(app))
    await app.ready()
    return app
  } catch (error) {
    await app.close()
    throw error
  }
}

async function registerCustom(app: FastifyInstance, plugin: Plugin): Promise<void> {
  try {
    await app.register(plugin as FastifyPluginAsync)
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause)
    const name = nameOf(plugin) ?? (plugin.name || 'without a name')
    throw new TunnelError('CONFIG_INVALID', `the plugin ${name} did not start: ${text}`, {
      cause,
      hop: 'proxy',
    })
  }
}

/** Closes what no plugin has closed; Fastify waits for every socket before it goes on. */
async function endWebSockets(app: FastifyInstance): Promise<void> {
  app.websocketServer.close()
  const closed = [...app.websocketServer.clients].map((socket) => {
    // A peer that does not answer the close holds nobody up.
    const late = setTimeout(() => socket.terminate(), CLOSE_MS)
    late.unref()
    socket.close(RESTARTING, 'SHUTTING_DOWN')
    return once(socket, 'close').finally(() => clearTimeout(late))
  })
  await Promise.allSettled(closed)
  // A connection on which nothing was asked, or half a request, is not idle to Node, and would never end.
  const late = setTimeout(() => app.server.closeAllConnections(), CLOSE_MS)
  late.unref()
  app.server.once('close', () => clearTimeout(late))
}

/** The name under which fastify-plugin registered it. */
function nameOf(plugin: Plugin): string | undefined {
  const { [Symbol.for('plugin-meta')]: meta } = plugin as unknown as Record<
    symbol,
    { name?: string } | undefined
  >
  return meta?.name
}

function tlsOptions(tls: Settings['server']['tls']): object {
  if (tls === undefined) return {}
  const { cert, key, minVersion } = tls
  return { https: { cert: readFileSync(cert), key: readFileSync(key), minVersion } }
}

/** An accepted upgrade is answered by `ws`, past every hook of Fastify's. */
function addCorrelationId(headers: string[], request: IncomingMessage): void {
  headers.push(`${CORRELATION_HEADER}: ${String(request.headers[CORRELATION_HEADER])}`)
}
