import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Asked, hostOf, ownerTag } from './asked.ts'
import { cookieOf, setCookie } from './cookies.ts'
import { notLoggedIn, otherOrigin, otherUsersHost } from './errors.ts'
import { isMeant } from './origins.ts'
import type { GatewaySessions } from './sessions.ts'
import { ticketIn } from './tickets.ts'

/** Who asks: by a token, or by the cookie that a browser has got for a ticket. */
export class Entry {
  readonly #app: Pick<FastifyInstance, 'auth' | 'requireUser'>
  readonly #sessions: GatewaySessions
  readonly #domain: string

  constructor(app: FastifyInstance, sessions: GatewaySessions, domain: string) {
    this.#app = app
    this.#sessions = sessions
    this.#domain = domain
  }

  /**
   * A browser has a ticket: it gets a cookie in its place, on the host that is its user's own. True where it was answered.
   * @throws {TunnelError} TICKET_INVALID, FORBIDDEN
   */
  async login(request: FastifyRequest, reply: FastifyReply, asked: Asked): Promise<boolean> {
    const found = asked.form === 'host' ? ticketIn(asked.path) : undefined
    if (found === undefined) return false
    const { auth } = this.#app
    const user = await auth.useTicket(found.ticket)
    reply.header('cache-control', 'no-store')
    if (asked.owner === undefined) {
      const own = hostOf(asked.machine, Number(asked.port), user.sub, this.#domain)
      if (own === undefined) throw otherUsersHost()
      const { ticket } = await auth.makeTicket(user)
      const there = `${request.protocol}://${own}${portIn(request.headers.host)}${found.rest}`
      reply.redirect(`${there}${found.rest.includes('?') ? '&' : '?'}ticket=${ticket}`, 302)
      return true
    }
    if (asked.owner !== ownerTag(user.sub)) throw otherUsersHost()
    const { secret, maxAgeMs } = await this.#sessions.make(user, asked)
    reply.header('set-cookie', setCookie(secret, maxAgeMs))
    reply.redirect(`${originOf(request)}${found.rest}`, 302)
    return true
  }

  /**
   * Sets `request.user`; true where the caller's Authorization is for the service.
   * @throws {TunnelError} whatever refuses the caller
   */
  async identify(request: FastifyRequest, asked: Asked): Promise<boolean> {
    const { headers } = request
    if (asked.form === 'host') {
      const cookie = asked.owner === undefined ? undefined : cookieOf(headers.cookie)
      const user = await this.#sessions.userOf(cookie, asked)
      if (user !== undefined) {
        this.#app.auth.check(user)
        if (!isMeant(request.raw, originOf(request))) throw otherOrigin()
        request.user = user
        request.log = request.log.child({ userId: user.sub })
        return true
      }
      if (headers.authorization === undefined) throw notLoggedIn()
    }
    await this.#app.requireUser(request)
    if (asked.owner !== undefined && asked.owner !== ownerTag(request.user.sub)) throw otherUsersHost()
    return false
  }
}

/** Where a request asked for it, as a browser names origins. */
function originOf({ protocol, headers }: FastifyRequest): string {
  return `${protocol}://${headers.host}`
}

/** `:3001`, or nothing. */
export function portIn(host = ''): string {
  return /:\d+$/.exec(host)?.[0] ?? ''
}
