import { type IncomingMessage, METHODS, type ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { SUCCESSOR_MS, shuttingDown } from '../../protocol/codec/shutting-down.ts'
import { hasBody } from '../../protocol/node/http-body.ts'
import { type Asked, askedOf, hostOf, routedUrl } from './asked.ts'
import { WINDOW_BYTES } from './caller-body.ts'
import { CallerStream, type Received } from './caller-stream.ts'
import { Entry, portIn } from './entry.ts'
import { codingUnknown, noHostForm, upgradeWithBody } from './errors.ts'
import { ExecStream } from './exec-stream.ts'
import { answerOfLast, isAsFarAsItMay, withOneLess } from './max-forwards.ts'
import type { GatewayOptions } from './options.ts'
import { requestHeaders } from './request-headers.ts'
import * as schemas from './schemas.ts'
import { servicePort } from './service-port.ts'
import { GatewaySessions } from './sessions.ts'
import { ticketIn } from './tickets.ts'
import { Visits } from './visits.ts'

/** What Fastify has to be made with, so that its router leaves alone what is for a service. */
export function gatewayUrls({ host }: GatewayOptions): (request: IncomingMessage) => string {
  return (request) => routedUrl(request, host)
}

/** What a request without a body holds here, in bytes. */
const HEAD_BYTES = 4_096
/** A command, and what it reads. */
const MAX_EXEC_BYTES = 1_048_576

async function gatewayPlugin(
  app: FastifyInstance,
  { host: domain, sessionMs }: GatewayOptions,
): Promise<void> {
  const entry = new Entry(app, new GatewaySessions(app.state.volatile, sessionMs), domain)
  const visits = new Visits(app)

  for (const method of METHODS)
    if (method !== 'CONNECT' && !app.supportedMethods.includes(method))
      app.addHttpMethod(method, { hasBody: true })

  // Whether a body is wanted is for the service to say.
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    if (askedOf(request, domain) === undefined) response.writeContinue()
    app.server.emit('request', request, response)
  })

  async function serve(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { raw } = request
    const asked = askedOf(raw, domain) as Asked
    let identified: Awaited<ReturnType<Entry['identify']>>
    const ticket = ticketIn(asked)
    // An address that has a penalty is refused whatever it shows. A ticket is a stranger's until it was used.
    if (ticket !== undefined || app.rateLimits.refusedMs(request.ip) > 0) await app.limitByIp(request, reply)
    if (ticket !== undefined) return entry.login(request, reply, asked, ticket)
    try {
      identified = await entry.identify(request, asked)
    } catch (error) {
      // Whoever is let in has a limit of their own; a page of an application asks for more than a stranger may.
      await app.limitByIp(request, reply)
      throw error
    }
    if (app.lifecycle.draining) throw shuttingDown(SUCCESSOR_MS)
    const upgrade = app.holdUpgrade(raw)
    check(raw, asked, upgrade !== undefined)
    if (isAsFarAsItMay(raw)) {
      await app.limitByUser(request, reply)
      const { status, type, body } = answerOfLast(raw, `${asked.prefix}${asked.path}`)
      if (type !== undefined) reply.type(type)
      return void reply.code(status).send(body)
    }
    const { ip, ips = [ip], protocol } = request
    const { machine, passesAuthorization } = identified
    const { prefix, path, form } = asked
    const target = `127.0.0.1:${asked.port}`
    const host = raw.headers.host ?? ''
    const caller = { addresses: [...ips].reverse(), protocol, host, prefix, passesAuthorization }
    const headers = withOneLess(raw, requestHeaders(raw, caller, form === 'host' ? host : target))
    const http = { method: raw.method ?? 'GET', path, headers }
    const costBytes = hasBody(raw) ? WINDOW_BYTES : HEAD_BYTES
    await visits.open(request, reply, { kind: 'http', machine, target, http }, costBytes, (head, over) => {
      const received: Received = {
        ...{ request: raw, response: reply.raw, asked, over },
        begins: () => reply.hijack(),
        endSocket: (socket) => app.endSocket(socket),
      }
      if (upgrade !== undefined) received.upgrade = upgrade
      return new CallerStream(head, received)
    })
  }

  app.all(
    '/api/tunnel/machines/:machine/http/:port/*',
    // Its methods are not all OpenAPI's: docs/GATEWAY.md describes it.
    { schema: { hide: true }, onRequest: serve, config: { hasLongBody: true } },
    () => {
      throw new Error('a request went past its gateway')
    },
  )

  const routes = app.withTypeProvider<TypeBoxTypeProvider>()
  routes.get(
    '/api/tunnel/machines/:machine/origin/:port',
    { schema: schemas.serviceOrigin, onRequest: [app.limitByIp, app.requireUser, app.limitByUser] },
    async ({ user, params: { machine, port }, protocol, host }) => {
      app.machines.get(user, machine)
      const own = hostOf(machine, servicePort(port), user.sub, domain)
      if (own === undefined) throw noHostForm(domain)
      return { origin: `${protocol}://${own}${portIn(host)}` }
    },
  )

  routes.post(
    '/api/tunnel/machines/:machine/exec',
    { schema: schemas.exec, bodyLimit: MAX_EXEC_BYTES, onRequest: [app.limitByIp, app.requireUser] },
    async (request, reply) => {
      const { params, body, id } = request
      const { command, stdin = '', encoding = 'utf8' } = body
      if (app.lifecycle.draining) throw shuttingDown(SUCCESSOR_MS)
      const asked = { kind: 'exec', machine: params.machine, exec: { command } } as const
      await visits.open(request, reply, asked, HEAD_BYTES + stdin.length, (head, over) => {
        const headers = { 'x-correlation-id': id }
        const begins = (): unknown => reply.hijack()
        return new ExecStream(head, { response: reply.raw, headers, stdin, encoding, begins, over })
      })
    },
  )

  // Of what a route may read behind its response nothing is read once that is an error.
  app.addHook('onError', async ({ raw, routeOptions }, reply) => {
    if (routeOptions.config.hasLongBody === true) app.leaveUnread(raw, reply.raw)
  })
  app.lifecycle.onDrain('wait', ({ over }) => visits.leave(over))
}

/** @throws {TunnelError} REQUEST_INVALID */
function check({ headers, httpVersion }: IncomingMessage, { port }: Asked, isUpgrade: boolean): void {
  servicePort(port)
  const { 'transfer-encoding': coding, 'content-length': length } = headers
  // Also where a body has no end that HTTP/1.0 knows (RFC 9112, section 6.1).
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || httpVersion !== '1.1'))
    throw codingUnknown(coding)
  if (isUpgrade && (coding !== undefined || length !== undefined)) throw upgradeWithBody()
}

export default fp(gatewayPlugin, {
  name: 'tunnel-gateway',
  fastify: '5.x',
  encapsulate: true,
  dependencies: [
    ...['tunnel-sockets', 'tunnel-errors', 'tunnel-lifecycle', 'tunnel-upgrade', 'tunnel-state'],
    ...['tunnel-auth', 'tunnel-ratelimit', 'tunnel-machines', 'tunnel-forward'],
  ],
})
