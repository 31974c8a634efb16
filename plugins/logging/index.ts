import type { IncomingMessage } from 'node:http'
import { type FastifyInstance, type FastifyRequest, type FastifyServerOptions, LogController } from 'fastify'
import fp from 'fastify-plugin'
import { systemClock } from '../../protocol/clock.ts'
import { readTraceparent } from '../../protocol/codec/trace-context.ts'
import { LineSampler } from '../../protocol/line-sampler.ts'
import { CORRELATION_HEADER, correlationIdOf } from './correlation.ts'
import type { LogOptions } from './options.ts'

export { CORRELATION_HEADER } from './correlation.ts'
export { createLogger } from './logger.ts'
export { type LogOutput, logToStdout } from './output.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The log tells everything from now on, or again what the settings say. */
    toggleDebugLog(): void
  }
}

export interface LoggingOptions {
  /** A request that took longer is a WARN, in ms. */
  slowMs: number
  /** What can be wrong with the place where the log goes. */
  output?: { readonly problem?: string | undefined } | undefined
}

/** Fastify's own lines about requests are left to our hooks; a response that breaks off is told here. */
class RequestLog extends LogController {
  constructor() {
    super({ disableRequestLogging: true, requestIdLogLabel: 'correlationId' })
  }

  override streamError(error: Error, request: FastifyRequest): void {
    request.log.debug({ err: error }, 'response broken off')
  }
}

/** What Fastify has to be made with, so that every request has its correlation id from its first line on. */
export const requestLogging = {
  logController: new RequestLog(),
  requestIdHeader: false,
  genReqId(request: IncomingMessage) {
    const id = correlationIdOf(request.headers[CORRELATION_HEADER])
    // Whoever sees only the raw request (an accepted upgrade) finds the same id.
    request.headers[CORRELATION_HEADER] = id
    return id
  },
} as const satisfies FastifyServerOptions

/** What is logged of a path that is none of ours, in characters. */
const MAX_PATH = 200

/** The answer that is a link, and the posts that belong to it; and what the gateway passes on, which is a stream. */
const LINK_ROUTES = /^\/api\/tunnel\/((connect|agent)\/stream(\/up)?|machines\/:machine\/http\/:port\/\*)$/

/** Asked for every few seconds by machines; of interest only when something is searched for. */
const QUIET_ROUTES = /^\/api\/tunnel\/(health(\/ready)?|metrics)$/

async function loggingPlugin(app: FastifyInstance, { slowMs, output }: LoggingOptions): Promise<void> {
  if (output !== undefined) app.health.addCheck('log', () => output.problem)
  const refusals = new LineSampler<number>(systemClock)
  app.addHook('onRequest', (request, reply, done) => {
    reply.header(CORRELATION_HEADER, request.id)
    const { traceparent } = request.headers
    const parent = readTraceparent(typeof traceparent === 'string' ? traceparent : undefined)
    if (parent !== undefined) request.log = request.log.child({ traceId: parent.traceId })
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    const durationMs = Math.round(reply.elapsedTime)
    const context = {
      method: request.method,
      // The path alone: a query may hold a ticket, and the target of somebody's request is payload.
      route: request.routeOptions.url ?? request.url.split('?', 1)[0]?.slice(0, MAX_PATH),
      status: reply.statusCode,
      durationMs,
    }
    // The answer to an accepted upgrade "ends" with its link.
    const isLink = ('ws' in request && request.ws === true) || LINK_ROUTES.test(context.route ?? '')
    if (durationMs > slowMs && !isLink) request.log.warn({ context }, 'slow request')
    else if (isLink || QUIET_ROUTES.test(context.route ?? '')) request.log.debug({ context }, 'request')
    else if (reply.statusCode < 400) request.log.info({ context }, 'request')
    else {
      // What is refused costs whoever asks nothing.
      const leftOut = refusals.take(reply.statusCode)
      if (leftOut !== undefined)
        request.log.info({ context: leftOut === 0 ? context : { ...context, leftOut } }, 'request')
    }
    done()
  })
  app.addHook('onClose', async () => {
    for (const [status, leftOut] of refusals.untold())
      app.log.info({ context: { status, leftOut } }, 'requests that were left out of the log')
  })
}

/** The level follows the settings, for every child too that has no level of its own. */
export const levelOfSettings = fp<LogOptions>(
  async (app, options) => {
    let isDebugging = false
    app.settings.onChange(() => {
      app.log.level = options.level
    })
    app.decorate('toggleDebugLog', () => {
      isDebugging = !isDebugging
      app.settings.patch({ log: { level: isDebugging ? 'debug' : null } })
      app.log.warn({ context: { level: options.level } }, 'the level of the log was changed by a signal')
      app.audit.record({ event: 'config.changed', details: { 'log.level': options.level } })
    })
  },
  { name: 'tunnel-log-level', fastify: '5.x', dependencies: ['tunnel-settings', 'tunnel-audit'] },
)

export default fp(loggingPlugin, {
  name: 'tunnel-logging',
  fastify: '5.x',
  dependencies: ['tunnel-health-checks'],
})
