import type { Clock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { AddedKind } from '../../protocol/codec/heads.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import type { User } from '../auth/index.ts'
import type { MachineDirectory } from '../machines/index.ts'
import type { TunnelMetrics } from '../metrics/index.ts'
import type { Pool } from '../pool/index.ts'
import type { Tiers } from '../tiers/index.ts'
import { openContext } from './admission.ts'
import { Carriage } from './carriage.ts'
import { tellLeftOut } from './ending.ts'
import { tooManyStreams } from './errors.ts'
import { type AdmittedGuest, admitGuest, type Guest } from './guests.ts'
import { type FromReplica, Handovers } from './handovers.ts'
import type { LinkContext, TunnelHooks } from './hooks.ts'
import type { Carrier } from './kinds.ts'
import { Opens } from './opens.ts'
import type { RequestOptions } from './options.ts'
import { Overview } from './overview.ts'
import { StreamOwners } from './owners.ts'
import type { StreamParties } from './parties.ts'
import { Passage } from './passage.ts'
import { RecentErrors } from './reports.ts'
import { Resumes } from './resumes.ts'
import { Relays } from './sealed/relays.ts'
import { passageKey, type Session, Sessions } from './sessions.ts'
import type { PassageServices, PassageShared } from './shared.ts'

/** A link on which streams are asked for, as its door hands it over. */
export interface OpenerLink {
  readonly link: Link
  /** `user` is renewed by AUTH. */
  readonly context: LinkContext
  /** Resolves when nothing refuses the link; until then it may open nothing. */
  readonly admitted: Promise<void>
}

export interface StreamServices extends PassageServices {
  readonly pool: Pick<Pool, 'acquire' | 'open' | 'waiting'>
  readonly machines: Pick<MachineDirectory, 'resolve' | 'whenOnline' | 'agents'>
  readonly tiers: Tiers
  readonly tunnelMetrics: PassageServices['tunnelMetrics'] &
    Pick<TunnelMetrics, 'streamResumes' | 'relayHops'>
}

export interface StreamsConfig {
  streams: StreamsOptions
  request: RequestOptions
  clock: Clock
}

const NO_LINKS: ReadonlySet<Link> = new Set()

/**
 * The way of every stream through the proxy: admitted once, then relayed to an agent (sealed) or carried from here
 * (inspected, and sealed to a configured host). Knows nothing of Fastify, nor by which door a link came.
 */
export class Streams {
  readonly overview: Overview
  readonly #services: StreamServices
  readonly #shared: PassageShared
  readonly #sessionOf = new Map<Link, Session>()
  readonly #sessions: Sessions
  readonly #relays: Relays
  readonly #opens: Opens
  readonly #resumes: Resumes
  readonly #handovers: Handovers
  readonly #carriage: Carriage

  constructor(config: StreamsConfig, services: StreamServices, hooks: TunnelHooks) {
    const { clock, streams, request } = config
    this.#services = services
    this.#shared = {
      services,
      hooks,
      clock,
      slowMs: request.slowMs,
      bytes: { sealed: { in: 0, out: 0 }, inspected: { in: 0, out: 0 } },
      recentErrors: new RecentErrors(),
    }
    this.#sessions = new Sessions(
      streams,
      (user) => services.tiers.limitsOf(user),
      clock,
      ({ told, userId }) => tellLeftOut(told, userId, services),
    )
    const owners = new StreamOwners(streams.resumeMs, clock)
    this.#relays = new Relays(owners, streams.resumeMs)
    this.overview = new Overview(this.#sessions, this.#relays, this.#shared)
    this.#carriage = new Carriage(services, clock, request)
    this.#opens = new Opens({
      owners,
      relays: this.#relays,
      carriage: this.#carriage,
      resumeMs: streams.resumeMs,
      passageOf: (opener, session, head) => this.#passage(opener.context, session, head, false),
    })
    this.#resumes = new Resumes({
      services,
      clock,
      owners,
      relays: this.#relays,
      passageOf: (opener, session, head) => this.#passage(opener.context, session, head, true),
    })
    this.#handovers = new Handovers({
      relays: this.#relays,
      machines: services.machines,
      tunnelMetrics: services.tunnelMetrics,
      visit: (user) => this.#visit(user),
      passageOf: (from, session, head) => this.#passage(from, session, head, true),
    })
  }

  /** A stream that another replica hands over, which has proved that it is one. @throws {TunnelError} what refuses it */
  takeOver(from: FromReplica, incoming: IncomingOpen | IncomingResume): void {
    this.#handovers.take(from, incoming)
  }

  /** The link's streams are its user's from here on. */
  join({ link, context }: OpenerLink): void {
    const bytesPerSecond = this.#services.rateLimits.bytesPerSecond(context.user)
    this.#sessionOf.set(link, this.#sessions.join(context.user, link, bytesPerSecond))
  }

  /** The link has closed. Safe to call for one that never joined. */
  leave(link: Link): void {
    const session = this.#sessionOf.get(link)
    if (session === undefined) return
    this.#sessionOf.delete(link)
    this.#sessions.leave(session, link)
  }

  /** Whether anybody else has a client's links or streams here, or had within the resume window. */
  hasOther(userId: string): boolean {
    return this.#sessions.hasOther(userId)
  }

  linksOf(userId: string): ReadonlySet<Link> {
    return this.#sessions.of(userId)?.links ?? NO_LINKS
  }

  /** A user's streams that end at this proxy. */
  streamsOf(userId: string): Iterable<TunnelStream> {
    return this.#sessions.of(userId)?.acceptor.streams ?? []
  }

  /** Whether a stream that ends at this proxy goes over one of `links`. */
  areUsed(links: { has(link: Link): boolean }): boolean {
    for (const { acceptor } of this.#sessions.all()) {
      for (const { link } of acceptor.streams) if (link !== undefined && links.has(link)) return true
    }
    return false
  }

  /**
   * Streams of another kind, which end at this proxy: `carrier` joins each to what it is for. Clients open them with
   * `open({ kind, machine, parameters })`.
   * @param kind `x-` and a name
   * @throws {Error} for a kind that cannot be added
   */
  addKind(kind: AddedKind, carrier: Carrier): void {
    this.#carriage.addKind(kind, carrier)
  }

  open(opener: OpenerLink, open: IncomingOpen): void {
    const session = this.#sessionOf.get(open.link)
    if (session === undefined) return
    if (session.acceptor.knows(open.head.id)) this.#resumes.resume(opener, session, asResume(open))
    else this.#opens.open(opener, session, open)
  }

  /** See `Opens.refuseNew`. */
  refuseNew(error: TunnelError): void {
    this.#opens.refuseNew(error)
  }

  resume(opener: OpenerLink, resume: IncomingResume): void {
    const session = this.#sessionOf.get(resume.link)
    if (session !== undefined) this.#resumes.resume(opener, session, resume)
  }

  /** A stream that comes by no link. @throws {TunnelError} what refuses it */
  admit(guest: Guest): Promise<AdmittedGuest> {
    return admitGuest(guest, {
      carriage: this.#carriage,
      visit: (user) => this.#visit(user),
      passageOf: (from, session, head, stop) => this.#passage(from, session, head, false, stop),
    })
  }

  /** The session of a user who may have no link here. */
  #visit(user: User): Session {
    return this.#sessions.visit(user, this.#services.rateLimits.bytesPerSecond(user))
  }

  /** `stop` ends what carries a stream that no link has. @throws {TunnelError} TOO_MANY_STREAMS */
  #passage(
    from: Guest['from'],
    session: Session,
    head: IncomingOpen['head'],
    moved: boolean,
    stop?: (error: TunnelError) => void,
  ): Passage {
    const { user } = from
    const { streams: max } = this.#services.tiers.limitsOf(user)
    if (session.passages.size >= max) throw tooManyStreams(max, user.tier)
    const context = openContext(from, head, moved)
    const key = passageKey(head.id, context.via)
    const passage: Passage = new Passage(context, this.#shared, session, (error) => {
      if (session.passages.get(key) === passage) session.passages.delete(key)
      if (error === undefined) return
      if (stop !== undefined) return stop(error)
      this.#relays.end(passage, error)
      session.acceptor.abandon(head.id, session.userId, error)
    })
    session.passages.set(key, passage)
    return passage
  }

  /** Requests that wait for a connection, by priority. */
  waiting(): ReturnType<Carriage['waiting']> {
    return this.#carriage.waiting()
  }

  /** Ends the streams that `isMeant` picks, whether or not they have a link now. */
  end(isMeant: (stream: StreamParties) => boolean, error: TunnelError): void {
    for (const { passages } of this.#sessions.all()) {
      for (const passage of [...passages.values()]) if (isMeant(passage)) passage.over(error)
    }
  }

  /** Ends every stream: those that end here with `error`; sealed ones may go on through whoever takes our place. */
  close(error: TunnelError): void {
    this.#carriage.close(error)
    const sessions = [...this.#sessions.all()]
    this.#sessions.close(error)
    for (const { passages } of sessions) {
      // One that was never admitted has nothing that could go on elsewhere.
      for (const passage of [...passages.values()])
        if (passage.stage === 'asking') passage.over(error)
        else passage.moved()
    }
  }
}

/** An OPEN whose first copy has arrived after all asks to go on from the beginning. */
function asResume({ link, number, head, headBytes }: IncomingOpen): IncomingResume {
  const resume = { ...head, received: 0, limit: head.window, attempt: head.attempt ?? 0 }
  return { link, number, headBytes, head: resume }
}
