import { randomUUID } from 'node:crypto'
import { type IncomingMessage, METHODS, type ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { type Asked, askedOf, hostOf, ownerTag, routedUrl } from './asked.ts'
import { CallerStream, hasBody, WINDOW_BYTES } from './caller-stream.ts'
import { cookieOf, setCookie } from './cookies.ts'
import {
  codingUnknown,
  noHostForm,
  notLoggedIn,
  otherOrigin,
  otherUsersHost,
  shuttingDown,
  tokenOver,
  upgradeWithBody,
} from './errors.ts'
import type { GatewayOptions } from './options.ts'
import { isMeant } from './origins.ts'
import { requestHeaders } from './request-headers.ts'
import * as schemas from './schemas.ts'
import { servicePort } from './service-port.ts'
import { GatewaySessions } from './sessions.ts'
import { ticketIn } from './tickets.ts'

/** What Fastify has to be made with, so that its router leaves alone what is for a service. */
export function gatewayUrls({ host }: GatewayOptions): (request: IncomingMessage) => string {
  return (request) => routedUrl(request, host)
}

/** What a request without a body holds here, in bytes. */
const HEAD_BYTES = 4_096
/** setTimeout's longest. */
const MAX_TIMER_MS = 2_147_483_647

async function gatewayPlugin(
  app: FastifyInstance,
  { host: domain, sessionMs }: GatewayOptions,
): Promise<void> {
  const sessions = new GatewaySessions(app.state.volatile, sessionMs)
  const active = new Set<CallerStream>()
  let onIdle: (() => void) | undefined

  for (const method of METHODS)
    if (method !== 'CONNECT' && !app.supportedMethods.includes(method))
      app.addHttpMethod(method, { hasBody: true })

  // Whether a body is wanted is for the service to say.
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    if (askedOf(request, domain) === undefined) response.writeContinue()
    app.server.emit('request', request, response)
  })

  /** Where the request asked for it, as a browser names origins. */
  const originOf = ({ protocol, headers }: FastifyRequest): string => `${protocol}://${headers.host}`

  /** A browser has a ticket: it gets a cookie in its place, on the host that is its user's own. */
  async function login(request: FastifyRequest, reply: FastifyReply, asked: Asked): Promise<boolean> {
    const found = ticketIn(asked.path)
    if (found === undefined) return false
    const user = await app.auth.useTicket(found.ticket)
    reply.header('cache-control', 'no-store')
    if (asked.owner === undefined) {
      const own = hostOf(asked.machine, Number(asked.port), user.sub, domain)
      if (own === undefined) throw otherUsersHost()
      const { ticket } = await app.auth.makeTicket(user)
      const query = found.rest.includes('?') ? '&' : '?'
      reply.redirect(
        `${request.protocol}://${own}${portIn(request.headers.host)}${found.rest}${query}ticket=${ticket}`,
        302,
      )
      return true
    }
    if (asked.owner !== ownerTag(user.sub)) throw otherUsersHost()
    const { secret, maxAgeMs } = await sessions.make(user, asked)
    reply.header('set-cookie', setCookie(secret, maxAgeMs))
    reply.redirect(`${originOf(request)}${found.rest}`, 302)
    return true
  }

  /** Sets `request.user`; true where the caller's Authorization is for the service. */
  async function identify(request: FastifyRequest, asked: Asked): Promise<boolean> {
    const { headers } = request
    if (asked.form === 'host') {
      const user =
        asked.owner === undefined ? undefined : await sessions.userOf(cookieOf(headers.cookie), asked)
      if (user !== undefined) {
        app.auth.check(user)
        if (!isMeant(request.raw, originOf(request))) throw otherOrigin()
        request.user = user
        request.log = request.log.child({ userId: user.sub })
        return true
      }
      if (headers.authorization === undefined) throw notLoggedIn()
    }
    await app.requireUser(request)
    if (asked.owner !== undefined && asked.owner !== ownerTag(request.user.sub)) throw otherUsersHost()
    return false
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

  async function serve(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { raw } = request
    const asked = askedOf(raw, domain) as Asked
    let passesAuthorization: boolean
    try {
      if (asked.form === 'host' && (await login(request, reply, asked))) return
      passesAuthorization = await identify(request, asked)
    } catch (error) {
      // Whoever is let in has a limit of their own; a page of an application asks for more than a stranger may.
      await app.limitByIp(request, reply)
      throw error
    }
    app.letIn(raw.socket)
    if (app.lifecycle.draining) throw shuttingDown()
    const upgrade = app.holdUpgrade(raw)
    check(raw, asked, upgrade !== undefined)
    const { user, ip, ips = [ip], protocol, log, id: correlationId } = request
    const { machine, prefix, path } = asked
    const target = `127.0.0.1:${asked.port}`
    const host = raw.headers.host ?? ''
    const caller = { addresses: [...ips].reverse(), protocol, host, prefix, passesAuthorization }
    const headers = requestHeaders(raw, caller, asked.form === 'host' ? host : target)

    let stopped: TunnelError | undefined
    let stream: CallerStream | undefined
    const stop = (error: TunnelError): void => {
      stopped ??= error
      stream?.reset(error)
    }
    request.isErrorTold = true
    const guest = await app.forward.admit({
      from: { user, connectionId: randomUUID(), correlationId, log },
      asked: { kind: 'http', machine, target, http: { method: raw.method ?? 'GET', path, headers } },
      costBytes: hasBody(raw) ? WINDOW_BYTES : HEAD_BYTES,
      stop,
    })
    const expiry = setTimeout(() => stop(tokenOver()), Math.min(user.expiresAtMs - Date.now(), MAX_TIMER_MS))
    expiry.unref()
    const opened = new CallerStream(guest.head, {
      ...{ request: raw, response: reply.raw, form: asked.form },
      ...(upgrade !== undefined && { upgrade }),
      begins: () => reply.hijack(),
      endSocket: (socket) => app.endSocket(socket),
      over(error) {
        clearTimeout(expiry)
        active.delete(opened)
        guest.over(error)
        if (active.size === 0) onIdle?.()
      },
    })
    stream = opened
    active.add(opened)
    if (stopped !== undefined) opened.reset(stopped)
    guest.carry(opened)
    await opened.begun
  }

  app.all(
    '/api/tunnel/machines/:machine/http/:port/*',
    { onRequest: serve, config: { hasLongBody: true } },
    () => {
      throw new Error('a request went past its gateway')
    },
  )
  app
    .withTypeProvider<TypeBoxTypeProvider>()
    .get(
      '/api/tunnel/machines/:machine/origin/:port',
      { schema: schemas.serviceOrigin, onRequest: [app.limitByIp, app.requireUser] },
      async ({ user, params: { machine, port }, protocol, host }) => {
        app.machines.get(user.sub, machine)
        const own = hostOf(machine, servicePort(port), user.sub, domain)
        if (own === undefined) throw noHostForm()
        return { origin: `${protocol}://${own}${portIn(host)}` }
      },
    )
  app.addHook('onError', async ({ raw }, reply) => {
    if (!hasBody(raw)) return
    // A body that nobody wants is not read to its end.
    reply.raw.once('finish', () => raw.complete || app.endSocket(raw.socket))
  })

  app.lifecycle.onDrain('wait', ({ over }) => {
    if (active.size === 0) return undefined
    return new Promise<void>((resolve) => {
      onIdle = resolve
      over.addEventListener('abort', () => resolve(), { once: true })
    })
  })
}

/** `:3001`, or nothing. */
function portIn(host = ''): string {
  return /:\d+$/.exec(host)?.[0] ?? ''
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
