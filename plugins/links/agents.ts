import type { FastifyInstance } from 'fastify'
import type { Hello } from '../../protocol/codec/hello.ts'
import type { User } from '../auth/index.ts'
import { checkMachine } from './credential.ts'
import { agentMayNotOpen, leaving, machineMissing, tooManyLinks } from './errors.ts'
import type { AcceptedLink, RoleHandler } from './role.ts'

/** How far ahead of this proxy's clock an agent's may be, in ms: less than other replicas believe. */
const MAX_AHEAD_MS = 43_200_000
const EPOCH_AHEAD =
  "the epoch of an agent is more than 12 hours ahead of this proxy's clock and counts as none: set the machine's clock"

/** An epoch by which its program would have the machine's name for ever, whatever is started there later. */
function isAhead(epoch: number | undefined): boolean {
  return epoch !== undefined && epoch > Date.now() + MAX_AHEAD_MS
}

/** Agents' links: they bring a machine on line, and open nothing themselves. */
export class AgentLinks implements RoleHandler {
  readonly #app: FastifyInstance
  readonly #isDraining: () => boolean
  /** Agents' links that each user has, those that have not said HELLO among them. */
  readonly #linksOf = new Map<string, number>()

  constructor(app: FastifyInstance, isDraining: () => boolean) {
    this.#app = app
    this.#isDraining = isDraining
  }

  /** Throws TOO_MANY_CONNECTIONS. */
  checkRoom(user: User): void {
    const { sub, tier } = user
    const { agentLinks: max } = this.#app.tiers.limitsOf(user)
    if ((this.#linksOf.get(sub) ?? 0) < max) return
    this.#app.tunnelMetrics.rateLimited.inc({ scope: 'link', tier })
    throw tooManyLinks(max, tier)
  }

  accepted({ context }: AcceptedLink): void {
    const { sub, tier } = context.user
    // Before it may be refused: every link that was accepted is closed, and counted off, once.
    const count = (this.#linksOf.get(sub) ?? 0) + 1
    this.#linksOf.set(sub, count)
    const { agentLinks: max } = this.#app.tiers.limitsOf(context.user)
    if (count > max) throw tooManyLinks(max, tier)
  }

  open(): void {
    throw agentMayNotOpen()
  }

  resume(): void {
    throw agentMayNotOpen()
  }

  async ready({ link, context }: AcceptedLink, peer: Hello): Promise<void> {
    if (peer.machine === undefined || peer.enrol === undefined) throw machineMissing()
    if (this.#isDraining()) throw leaving()
    const { user } = context
    checkMachine(user, peer.machine)
    if (isAhead(peer.epoch)) {
      delete peer.epoch
      context.log.warn({ context: { machine: peer.machine } }, EPOCH_AHEAD)
    }
    await this.#app.policy.check({
      user,
      machine: peer.machine,
      owner: user.sub,
      mode: 'sealed',
      kind: 'agent',
    })
    if (link.closed) return
    // Its streams go on when its token has expired, and no new one is opened over it.
    const isFresh = () => context.user.expiresAtMs > Date.now()
    const limits = this.#app.tiers.limitsOf(user)
    await this.#app.machines.enrol(user.sub, peer.machine, peer.enrol, { link, isFresh, limits })
    const { machine } = peer
    context.log.info({ context: { machine } }, 'machine on line')
    this.#app.audit.record({
      event: 'machine.enrolled',
      userId: user.sub,
      machine,
      correlationId: context.correlationId,
      details: {
        hostKeys: this.#app.machines
          .get(user, machine)
          .hostKeys.map(({ fingerprint }) => fingerprint)
          .join(' '),
      },
    })
  }

  closed({ link, context }: AcceptedLink): void {
    const { sub } = context.user
    const left = (this.#linksOf.get(sub) ?? 1) - 1
    if (left > 0) this.#linksOf.set(sub, left)
    else this.#linksOf.delete(sub)
    if (context.machine !== undefined) this.#app.machines.lost(context.user.sub, context.machine, link)
  }
}
