import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { User } from '../auth/index.ts'
import { type Asked, hostOf, ownerTag } from './asked.ts'
import { cookiesOf, setCookie } from './cookies.ts'
import { notLoggedIn, otherOrigin, otherUsersHost } from './errors.ts'
import { isMeant } from './origins.ts'
import type { GatewaySessions } from './sessions.ts'
import type { FoundTicket } from './tickets.ts'

interface Identified {
  machine: string
  /** The caller's Authorization is for the service. */
  passesAuthorization: boolean
}

/** Who asks: by a token, or by the cookie that a browser has got for a ticket. */
export class Entry {
  readonly #app: Pick<FastifyInstance, 'auth' | 'machines' | 'requireUser'>
  readonly #sessions: GatewaySessions
  readonly #domain: string

  constructor(app: FastifyInstance, sessions: GatewaySessions, domain: string) {
    this.#app = app
    this.#sessions = sessions
    this.#domain = domain
  }

  /**
   * A browser has a ticket: it gets a cookie in its place, on the host that is its user's own.
   * @throws {TunnelError} TICKET_INVALID, FORBIDDEN
   */
  async login(request: FastifyRequest, reply: FastifyReply, asked: Asked, found: FoundTicket): Promise<void> {
    const { auth } = this.#app
    const user = await auth.useTicket(found.ticket)
    reply.header('cache-control', 'no-store')
    if (asked.owner === undefined) {
      const own = hostOf(asked.machine, Number(asked.port), user.sub, this.#domain)
      if (own === undefined) throw otherUsersHost()
      const { ticket } = await auth.makeTicket(user)
      const there = `${request.protocol}://${own}${portIn(request.headers.host)}${found.rest}`
      reply.redirect(`${there}${found.rest.includes('?') ? '&' : '?'}ticket=${ticket}`, 302)
      return
    }
    const { secret, maxAgeMs } = await this.#sessions.make(user, this.#machineOn(user, asked), asked)
    reply.header('set-cookie', setCookie(secret, maxAgeMs))
    reply.redirect(`${originOf(request)}${found.rest}`, 302)
  }

  /**
   * Sets `request.user`, and answers which machine that user means.
   * @throws {TunnelError} whatever refuses the caller
   */
  async identify(request: FastifyRequest, asked: Asked): Promise<Identified> {
    const { headers } = request
    if (asked.form === 'host') {
      const secrets = asked.owner === undefined ? [] : cookiesOf(headers.cookie)
      const session = await this.#sessions.find(secrets, asked)
      if (session !== undefined) {
        const { user, machine } = session
        this.#app.auth.check(user)
        if (!isMeant(request.raw, originOf(request))) throw otherOrigin()
        request.user = user
        request.log = request.log.child({ userId: user.sub })
        return { machine, passesAuthorization: true }
      }
      if (headers.authorization === undefined) throw notLoggedIn()
    }
    await this.#app.requireUser(request)
    return { machine: this.#machineOn(request.user, asked), passesAuthorization: false }
  }

  /** @throws {TunnelError} FORBIDDEN where the host is another user's */
  #machineOn(user: User, { machine, owner: tag }: Asked): string {
    if (tag === undefined || tag === ownerTag(user.sub)) return machine
    const shared = this.#app.machines
      .list(user)
      .find(({ owner, name }) => name === machine && tag === ownerTag(user.sub, owner))
    if (shared === undefined) throw otherUsersHost()
    return `${shared.owner}/${shared.name}`
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
