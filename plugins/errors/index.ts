import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { FastifyBodyParser, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { ERROR_HEADER, TunnelError } from '../../protocol/codec/errors.ts'
import { ambiguityOf } from './ambiguous.ts'
import { checkBody } from './json-body.ts'
import { PROBLEM_CONTENT_TYPE, problemOf, retryAfterSeconds, toTunnelError } from './problem.ts'
import { clientError, endSocket } from './raw.ts'
import { RefusalRecord } from './refusals.ts'
import { leaveUnread } from './unread.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Ends a socket that no reply stands behind, with an answer or without; it is gone within a second. */
    endSocket: typeof endSocket
    /** See `unread.ts`. */
    leaveUnread: typeof leaveUnread
    /** Reads a body of JSON, of whatever media type, and refuses what could be read in two ways. */
    parseJson: FastifyBodyParser<string>
    /** Records a request that was refused where that is worth a line of the audit trail. */
    recordRefusal(error: TunnelError, request: FastifyRequest): void
  }
  interface FastifyRequest {
    /** Whatever refuses it has been counted and recorded where that was found out: the answer is all that is left. */
    isErrorTold: boolean
  }
}

/** Answers with a problem document, whatever was thrown. */
function sendProblem(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const { error, status } = toTunnelError(thrown)
  if (status >= 500 && error.code === 'INTERNAL') request.log.error({ err: thrown }, 'request failed')
  else request.log.debug({ code: error.code, detail: error.message }, 'request refused')
  if (!request.isErrorTold) {
    request.server.tunnelMetrics.countError(error)
    request.server.recordRefusal(error, request)
  }
  if (request.ip !== undefined) request.server.rateLimits.refused(request.ip, error)

  reply.code(status).header('x-correlation-id', request.id).header('cache-control', 'no-store')
  reply.header(ERROR_HEADER, error.code)
  if (status === 401) reply.header('www-authenticate', request.server.auth.challenges ?? 'Bearer')
  let { retryAfterMs } = error
  const told = Number(reply.getHeader('retry-after'))
  // A plugin that limits may say it in its own header, in seconds.
  if (retryAfterMs === undefined && told > 0) retryAfterMs = told * 1_000
  if (retryAfterMs !== undefined) reply.header('retry-after', retryAfterSeconds(retryAfterMs))
  const problem = problemOf(error, status, request.id)
  if (retryAfterMs !== undefined) problem.retryAfterMs = retryAfterMs
  // Sent as text, so that a route's own response schema leaves nothing out.
  reply.type(PROBLEM_CONTENT_TYPE).send(JSON.stringify(problem))
}

/** Fastify's `frameworkErrors`: a request whose URL is on no route's way, and for which no hook runs. */
export function answerUnrouted(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  leaveUnread(request.raw, reply.raw)
  // Malformed requests count towards the limit of their address, as requests for a route do.
  request.server.limitByIp(request, reply).then(
    () => sendProblem(thrown, request, reply),
    (limited: unknown) => sendProblem(limited, request, reply),
  )
}

/** Fastify's `clientErrorHandler`: what is not HTTP, is too long, or does not come to its end. */
export function answerClientError(
  this: FastifyInstance,
  { code }: Error & { code?: string },
  socket: Socket,
): void {
  if (code === 'ECONNRESET') return void socket.destroy()
  if (socket.destroyed) return
  const { error, status } = clientError(code)
  this.tunnelMetrics.countError(error)
  this.rateLimits.broken(socket)
  endSocket(socket, { error, status, correlationId: randomUUID() })
}

async function errorsPlugin(app: FastifyInstance): Promise<void> {
  app.decorate('endSocket', endSocket)
  app.decorate('leaveUnread', leaveUnread)
  app.decorateRequest('isErrorTold', false)
  const refusals = new RefusalRecord(app)
  app.decorate('recordRefusal', (error: TunnelError, request: FastifyRequest) => refusals.add(error, request))
  // Before Node's own listener, which takes it for an error of HTTP: nothing can be said where TLS does not stand.
  app.server.prependListener('tlsClientError', ({ code }: Error & { code?: string }, socket: Socket) => {
    // One that only looks whether somebody listens has done nothing wrong.
    if (code !== 'ECONNRESET') app.rateLimits.broken(socket)
    socket.destroy()
  })
  app.addHook('onRequest', async (request, reply) => {
    if (request.routeOptions.config.hasLongBody !== true) leaveUnread(request.raw, reply.raw)
    const ambiguity = ambiguityOf(request.raw)
    if (ambiguity === undefined) return
    await app.limitByIp(request, reply)
    throw ambiguity
  })
  app.setErrorHandler((error, request, reply) => sendProblem(error, request, reply))
  // Fastify's own refuses __proto__ and constructor; it is asked for what every body has to be.
  const parse = app.getDefaultJsonParser('error', 'error')
  const parseJson: FastifyBodyParser<string> = (request, body, done) => {
    try {
      checkBody(body)
      return parse(request, body, done)
    } catch (error) {
      done(error as Error)
    }
  }
  app.decorate('parseJson', parseJson)
  app.addContentTypeParser('application/json', { parseAs: 'string' }, parseJson)
  // Requests for unknown routes count towards the limit of their address, so that probing is limited too.
  app.setNotFoundHandler({ preHandler: app.limitByIp }, (request, reply) => {
    const path = request.url.split('?', 1)[0]
    const text = `no route answers ${request.method} ${path}`
    sendProblem(new TunnelError('ROUTE_UNKNOWN', text, { hop: 'proxy' }), request, reply)
  })
}

export default fp(errorsPlugin, {
  name: 'tunnel-errors',
  fastify: '5.x',
  dependencies: ['tunnel-audit', 'tunnel-auth', 'tunnel-metrics', 'tunnel-ratelimit'],
})
