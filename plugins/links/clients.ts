import type { FastifyInstance } from 'fastify'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import type { User } from '../auth/index.ts'
import { tooManyLinks } from './errors.ts'
import type { AcceptedLink, RoleHandler } from './role.ts'

/** What a link has to show that it lives when its user wants more links than allowed, in ms. */
const PROBE_MS = 3_000

/** Clients' links: what is asked for on them goes the way of `plugins/forward`. */
export class ClientLinks implements RoleHandler {
  readonly #app: FastifyInstance

  constructor(app: FastifyInstance) {
    this.#app = app
  }

  /** Throws TOO_MANY_CONNECTIONS. Links that are only half gone are then found and give their places back. */
  checkRoom(user: User): void {
    const links = this.#app.forward.linksOf(user.sub)
    const { links: max } = this.#app.tiers.limitsOf(user)
    if (links.size < max) return
    for (const link of links) link.probe(PROBE_MS)
    this.#app.tunnelMetrics.rateLimited.inc({ scope: 'link', tier: user.tier })
    throw tooManyLinks(max, user.tier)
  }

  accepted(accepted: AcceptedLink): void {
    this.checkRoom(accepted.context.user)
    this.#app.forward.join(accepted)
  }

  open(accepted: AcceptedLink, open: IncomingOpen): void {
    this.#app.forward.open(accepted, open)
  }

  resume(accepted: AcceptedLink, resume: IncomingResume): void {
    this.#app.forward.resume(accepted, resume)
  }

  closed({ link }: AcceptedLink): void {
    this.#app.forward.leave(link)
  }
}
