import { isSealed, type RoutedHead, readMachine } from '../../protocol/codec/heads.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { Tier, User } from '../auth/index.ts'
import { vouched } from './admission.ts'
import { idInUse, unknownStream, vouchedForNobody } from './errors.ts'
import type { LinkContext } from './hooks.ts'
import type { Passage } from './passage.ts'
import type { Relays } from './sealed/relays.ts'
import type { Session } from './sessions.ts'

/** A replica that hands streams over, by its link. */
export type FromReplica = Pick<LinkContext, 'connectionId' | 'correlationId' | 'log'> & { replica: string }

export interface HandoversContext {
  readonly relays: Relays
  readonly machines: { readonly agents: { own(owner: string, name: string): Link | undefined } }
  readonly tunnelMetrics: { readonly relayHops: { inc(labels: Record<never, never>): void } }
  visit(user: User): Session
  /** The passage of a stream that was admitted elsewhere. @throws {TunnelError} TOO_MANY_STREAMS */
  passageOf(from: LinkContext, session: Session, head: RoutedHead): Passage
}

/**
 * Sealed streams that another replica hands over, because their machine's agent has its link here. That one has admitted
 * them, and counts them: hooks, token, bucket and policy are asked where the client is, and nobody is asked twice.
 */
export class Handovers {
  readonly #context: HandoversContext

  constructor(context: HandoversContext) {
    this.#context = context
  }

  /** @throws {TunnelError} what refuses it */
  take(from: FromReplica, incoming: IncomingOpen | IncomingResume): void {
    const { relays, machines, visit, tunnelMetrics } = this.#context
    const { tier: _, ...head } = incoming.head
    const user = userOf(incoming.head)
    if (user === undefined || !isSealed(head.kind)) throw vouchedForNobody()
    const { name } = readMachine(head.machine)
    const owner = head.owner ?? user.sub
    const session = visit(user)
    const link: LinkContext = { ...from, user, role: 'relay', via: from.replica }
    const isOpen = 'first' in incoming
    const passage = this.#passageOf(session, link, asAsked(incoming.head), isOpen)
    passage.handedOver(link, { owner, name })
    tunnelMetrics.relayHops.inc({})
    passage.newest = incoming
    const relay = relays.add(session, passage, incoming)
    const agent = machines.agents.own(owner, name)
    // It has just left. Whoever handed the stream over knows by now, or will, and its opener asks again.
    if (agent === undefined) return relay.suspend()
    const { traceparent } = passage.trace
    relay.connect(agent, {
      ...{ ...head, ...vouched(user, { owner }, agent) },
      ...(traceparent !== undefined && { traceparent }),
    })
  }

  #passageOf(session: Session, link: LinkContext, head: RoutedHead, isOpen: boolean): Passage {
    const known = session.passages.get(head.id)
    if (known === undefined) return this.#context.passageOf(link, session, head)
    if (known.isFor(head) && !session.acceptor.knows(head.id)) return known
    throw isOpen ? idInUse() : unknownStream()
  }
}

/** As its opener has asked for it: under that it may come back by another way. */
function asAsked(head: IncomingOpen['head'] | IncomingResume['head']): RoutedHead {
  const { asked, target, tier: _, ...rest } = head
  const window = 'window' in head ? head.window : head.limit
  const meant = asked ?? target
  return { ...rest, window, ...(meant !== undefined && meant !== '' && { target: meant }) }
}

const TIERS: ReadonlySet<unknown> = new Set<Tier>(['free', 'premium', 'enterprise'])

/** Whom the other replica vouches for, as of now. */
function userOf({ subject, tier = 'free' }: { subject?: string; tier?: string }): User | undefined {
  if (subject === undefined || subject === '' || subject.includes(' ')) return undefined
  return {
    sub: subject,
    tier: TIERS.has(tier) ? (tier as Tier) : 'free',
    roles: [],
    expiresAtMs: Number.POSITIVE_INFINITY,
    // Of no token: what is revoked from now on, all of the user's, ends it here too.
    credential: { id: '', issuedAtMs: Date.now() },
  }
}
