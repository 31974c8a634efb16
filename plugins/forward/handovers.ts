import { isSealed, type RoutedHead, readMachine } from '../../protocol/codec/heads.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import type { Tier, User } from '../auth/index.ts'
import type { MeshedAgents } from '../machines/index.ts'
import { vouched } from './admission.ts'
import { idInUse, relayedInCircles, unknownStream, vouchedForNobody } from './errors.ts'
import type { LinkContext } from './hooks.ts'
import type { Passage } from './passage.ts'
import type { Relays } from './sealed/relays.ts'
import { passageKey, type Session } from './sessions.ts'

/** A replica that hands streams over, by its link: `replica` to the one called `self`. */
export type FromReplica = Pick<LinkContext, 'connectionId' | 'correlationId' | 'log'> & {
  replica: string
  self: string
}

export interface HandoversContext {
  readonly relays: Relays
  readonly machines: { readonly agents: Pick<MeshedAgents, 'own' | 'near'> }
  readonly tunnelMetrics: { readonly relayHops: { inc(labels: Record<never, never>): void } }
  visit(user: User): Session
  /** The passage of a stream that was admitted elsewhere. @throws {TunnelError} TOO_MANY_STREAMS */
  passageOf(from: LinkContext, session: Session, head: RoutedHead): Passage
}

/**
 * Sealed streams that another replica hands over, because their machine's agent has its link here, or at a third replica
 * to which that one has no link. That one has admitted them, and counts them: hooks, token, bucket and policy are asked where
 * the client is, and nobody is asked twice.
 */
export class Handovers {
  readonly #context: HandoversContext

  constructor(context: HandoversContext) {
    this.#context = context
  }

  /** @throws {TunnelError} what refuses it */
  take(from: FromReplica, incoming: IncomingOpen | IncomingResume): void {
    const { relays, machines, visit, tunnelMetrics } = this.#context
    const { tier: _, through, ...head } = incoming.head
    const user = userOf(incoming.head)
    if (user === undefined || !isSealed(head.kind)) throw vouchedForNobody()
    if (through !== undefined) checkChain(through, from)
    const { name } = readMachine(head.machine)
    const owner = head.owner ?? user.sub
    const session = visit(user)
    const opener: LinkContext = { ...from, user, role: 'relay', via: viaOf(from, through) }
    const isOpen = 'first' in incoming
    const passage = this.#passageOf(session, opener, asAsked(incoming.head), isOpen)
    passage.handedOver(opener, { owner, name })
    tunnelMetrics.relayHops.inc({})
    passage.newest = incoming
    const relay = relays.add(session, passage, incoming, { answered: () => this.#leftUs(session, head.id) })
    const own = machines.agents.own(owner, name)
    // Two replicas that relay are enough for any one link that is cut.
    const link = own ?? (through === undefined ? machines.agents.near(owner, name, incoming.link) : undefined)
    // It has just left. Whoever handed the stream over knows by now, or will, and its opener asks again.
    if (link === undefined) return relay.suspend()
    const told = { ...head, ...vouched(passage, { owner }, link) }
    relay.connect(link, own === undefined ? { ...told, through: from.replica } : told)
  }

  /** Its client was here, and has gone to the replica that hands it over. What carries it still is told by its acceptor. */
  #leftUs({ passages }: Session, id: string): void {
    const ours = passages.get(passageKey(id, undefined))
    if (ours?.stage === 'suspended' && !this.#context.relays.has(ours)) ours.moved()
  }

  #passageOf(session: Session, link: LinkContext, head: RoutedHead, isOpen: boolean): Passage {
    const known = session.passages.get(passageKey(head.id, link.via))
    const isEnding = session.acceptor.knows(head.id)
    if (known === undefined && !isEnding) return this.#context.passageOf(link, session, head)
    if (known?.isFor(head) === true && !isEnding) return known
    throw isOpen ? idInUse() : unknownStream()
  }
}

/**
 * A stream goes through two replicas at most, and never twice through one. Which they are is known by the links, and what is
 * said beside that has to fit. @throws {TunnelError} FRAME_INVALID
 */
function checkChain(through: string, { replica, self }: FromReplica): void {
  if (!/^\S+$/.test(through) || through === replica || through === self) throw relayedInCircles(through)
}

/** The replicas that it came through, for the audit trail; no id has a space in it. */
function viaOf({ replica }: FromReplica, through: string | undefined): string {
  return through === undefined ? replica : `${through} ${replica}`
}

/** As its opener has asked for it: under that it may come back by another way. */
function asAsked(head: IncomingOpen['head'] | IncomingResume['head']): RoutedHead {
  const { asked, target, tier: _, through: __, ...rest } = head
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
