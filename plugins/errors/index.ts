import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { PROBLEM_CONTENT_TYPE, problemOf, rawProblem, retryAfterSeconds, toTunnelError } from './problem.ts'

export { rawProblem } from './problem.ts'

/** Answers with a problem document, whatever was thrown. Also Fastify's `frameworkErrors`, for requests without a route. */
export function sendProblem(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const { error, status } = toTunnelError(thrown)
  if (status >= 500 && error.code === 'INTERNAL') request.log.error({ err: thrown }, 'request failed')
  else request.log.debug({ code: error.code, detail: error.message }, 'request refused')
  request.server.tunnelMetrics?.countError(error)

  reply.code(status).header('x-correlation-id', request.id).header('cache-control', 'no-store')
  if (status === 401) reply.header('www-authenticate', 'Bearer')
  let { retryAfterMs } = error
  const told = Number(reply.getHeader('retry-after'))
  // @fastify/rate-limit and under-pressure say it in their own header, in seconds.
  if (retryAfterMs === undefined && told > 0) retryAfterMs = told * 1_000
  if (retryAfterMs !== undefined) reply.header('retry-after', retryAfterSeconds(retryAfterMs))
  const problem = problemOf(error, status, request.id)
  if (retryAfterMs !== undefined) problem.retryAfterMs = retryAfterMs
  // Sent as text, so that a route's own response schema leaves nothing out.
  reply.type(PROBLEM_CONTENT_TYPE).send(JSON.stringify(problem))
}

async function errorsPlugin(app: FastifyInstance): Promise<void> {
  app.setErrorHandler((error, request, reply) => sendProblem(error, request, reply))
  // Whoever looks for routes is counted like whoever asks one.
  const preHandler = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    await request.server.limitByIp?.(request, reply)
  }
  app.setNotFoundHandler({ preHandler }, (request, reply) => {
    const path = request.url.split('?', 1)[0]
    sendProblem(new TunnelError('ROUTE_UNKNOWN', `there is no ${request.method} ${path}`), request, reply)
  })
}

/** Fastify's `clientErrorHandler`: what is no HTTP, is too long, or does not come to its end. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  const [status, text] = CLIENT_ERRORS.get(error.code) ?? [400, 'this is no HTTP request']
  if (socket.writable)
    socket.write(rawProblem(new TunnelError('REQUEST_INVALID', text), status, randomUUID()))
  socket.destroySoon()
}

const CLIENT_ERRORS: ReadonlyMap<string | undefined, [status: number, text: string]> = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', [408, 'the request did not come to its end in time']],
  ['HPE_HEADER_OVERFLOW', [431, "the request's headers are too long"]],
])

export default fp(errorsPlugin, { name: 'tunnel-errors', fastify: '5.x' })
