import type { FastifyInstance } from 'fastify'
import { systemClock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import { type RoutedHead, STREAM_KINDS, type StreamKind } from '../../protocol/codec/heads.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import type { Relay } from '../../protocol/stream/relay.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { TokenBucket } from '../../protocol/token-bucket.ts'
import type { User } from '../auth/index.ts'
import type { OpenContext } from '../forward/index.ts'
import type { AgentRoute } from '../machines/index.ts'
import { ConfiguredHosts } from './configured.ts'
import type { AcceptedLink, RoleHandler } from './door.ts'
import { agentMayNotOpen, tooManyLinks, tooManyRefusals } from './errors.ts'
import type { WebSocketPluginOptions } from './options.ts'
import { Relays } from './relays.ts'
import { Resumes } from './resumes.ts'
import { type Session, Sessions } from './session.ts'

/** Refusals a second that one link may ask for, beyond a burst: each costs a line of the log. */
const REFUSALS_PER_SECOND = 50
const REFUSALS = 1_000

/** What a link has to show that it lives when its user wants more links than he may have, in ms. */
const PROBE_MS = 3_000

/** A stream is `suspended` while its client has no link; a sealed one, which has no end here, is never counted so. */
const COUNTED_STATES = ['opening', 'open', 'suspended'] as const
type CountedState = (typeof COUNTED_STATES)[number]

/** What an accepted link has here until it closes. */
interface Seat {
  session: Session
  refusals: TokenBucket
}

/** What clients ask for on their links: sealed streams are relayed to agents, inspected ones end here. */
export class ClientLinks implements RoleHandler {
  readonly #app: FastifyInstance
  readonly #options: WebSocketPluginOptions
  readonly #seats = new Map<AcceptedLink, Seat>()
  readonly #relays: Relays
  readonly #resumes: Resumes
  readonly #configured: ConfiguredHosts
  readonly sessions: Sessions

  constructor(app: FastifyInstance, options: WebSocketPluginOptions) {
    this.#app = app
    this.#options = options
    this.sessions = new Sessions(options.streams)
    this.#relays = new Relays(app, options.streams.resumeMs)
    this.#resumes = new Resumes(app, this.#relays, this.sessions)
    this.#configured = new ConfiguredHosts(app, this.#relays)
  }

  /** How many streams there are, by kind and state; those of which there are none as well. */
  *counts(): Generator<[StreamKind, CountedState, number]> {
    const counts = new Map(STREAM_KINDS.map((kind) => [kind, { opening: 0, open: 0, suspended: 0 }]))
    const { open, opening } = this.#relays.counts
    Object.assign(counts.get('ssh') ?? {}, { open, opening })
    for (const { acceptor } of this.sessions.all()) {
      for (const { head, state, suspended } of acceptor.streams) {
        const ofKind = counts.get(head.kind)
        if (ofKind !== undefined && state !== 'closed') ofKind[suspended ? 'suspended' : state]++
      }
    }
    for (const [kind, states] of counts) {
      for (const state of COUNTED_STATES) yield [kind, state, states[state]]
    }
  }

  countBytes(): void {
    this.#relays.countBytes()
  }

  /** Throws TOO_MANY_CONNECTIONS. Links that are only half gone are then found and give their places back. */
  checkRoom(user: User): void {
    const { linksPerUser } = this.#options.limits
    const links = this.sessions.linksOf(user.sub)
    if (links.size < linksPerUser) return
    for (const link of links) link.probe(PROBE_MS)
    this.#app.tunnelMetrics.rateLimited.inc({ scope: 'link', tier: user.tier })
    throw tooManyLinks(linksPerUser)
  }

  accepted(connection: AcceptedLink): void {
    const { link, context } = connection
    this.checkRoom(context.user)
    this.#seats.set(connection, {
      session: this.sessions.join(context.user.sub, link),
      refusals: new TokenBucket(systemClock, REFUSALS_PER_SECOND, REFUSALS),
    })
  }

  closed(connection: AcceptedLink): void {
    const seat = this.#seats.get(connection)
    this.#seats.delete(connection)
    if (seat !== undefined) this.sessions.leave(seat.session, connection.link)
  }

  open(connection: AcceptedLink, open: IncomingOpen): void {
    const context = this.#contextOf(connection, open)
    if (context.user.roles.includes('agent')) throw agentMayNotOpen()
    const session = this.#seats.get(connection)?.session
    if (session === undefined) return
    if (session.acceptor.knows(open.head.id)) return this.#resumes.here(connection, session, asResume(open))
    const machine = this.#app.machines.find(context.user.sub, context.machine)
    if (context.mode === 'sealed' && machine?.source !== 'configured') {
      let admittedAtMs: number | undefined
      const relay = this.#relays.add(session, open, {
        onOver: (error) => {
          if (admittedAtMs === undefined) return
          const durationMs = performance.now() - admittedAtMs
          void this.#app.tunnel.notify('onClose', { ...context, error, durationMs })
        },
      })
      const admitted = () => {
        admittedAtMs = performance.now()
      }
      void this.#openSealed(connection, relay, context, admitted)
    } else {
      session.acceptor.open(open, context.user.sub, {
        onStream: (stream) => void this.#openHere(connection, stream, context),
      })
    }
  }

  #contextOf({ context }: AcceptedLink, { head }: IncomingOpen): OpenContext {
    const { user, connectionId, correlationId, log } = context
    return {
      user,
      head,
      machine: head.machine,
      mode: head.kind === 'ssh' ? 'sealed' : 'inspected',
      connectionId,
      correlationId,
      log,
      ...(head.target === undefined ? {} : { target: head.target }),
    }
  }

  async #openSealed(
    connection: AcceptedLink,
    relay: Relay,
    context: OpenContext,
    onAdmitted: () => void,
  ): Promise<void> {
    const { head } = context
    const app = this.#app
    let authorised = false
    try {
      await connection.admitted
      const { user } = connection.context
      context.user = user
      await app.forward.authorise(context)
      authorised = true
      // It may have been given up meanwhile.
      if (relay.over) return
      onAdmitted()
      // What has another route than an agent's is not relayed, and `authorise` has resolved it.
      const link = await (context.route as AgentRoute).link()
      await app.tunnel.run('onOpen', context)
      if (relay.over) return
      const { target } = context
      const passed: RoutedHead = { ...head, subject: user.sub }
      if (target !== undefined && target !== head.target) {
        passed.target = target
        passed.asked = head.target ?? ''
      }
      relay.connect(link, passed)
      context.log.info({ context: { machine: context.machine, kind: head.kind } }, 'stream open')
    } catch (thrown) {
      const error = asTunnelError(thrown)
      // Whoever authorises counts what he refuses.
      if (authorised) app.tunnelMetrics.requests.inc({ kind: head.kind, outcome: error.code })
      this.#refused(connection, context, error)
      relay.reset(error)
    }
  }

  #refused(connection: AcceptedLink, context: OpenContext, error: TunnelError): void {
    const { machine, head, log } = context
    this.#app.tunnelMetrics.countError(error)
    const seat = this.#seats.get(connection)
    if (seat?.refusals.take() === false) return connection.link.close(tooManyRefusals())
    if (error.code === 'INTERNAL') log.error({ err: error }, 'opening a stream failed')
    else log.info({ context: { machine, kind: head.kind, code: error.code } }, 'stream refused')
  }

  /** A stream that ends at this proxy: inspected, or sealed to a host that has no agent. */
  async #openHere(connection: AcceptedLink, stream: TunnelStream, context: OpenContext): Promise<void> {
    try {
      await connection.admitted
      context.user = connection.context.user
      await this.#app.forward.authorise(context)
      if (context.mode === 'sealed') return await this.#configured.serve(stream, context)
    } catch (thrown) {
      const error = asTunnelError(thrown)
      this.#refused(connection, context, error)
      stream.reset(error)
      return
    }
    await this.#app.forward.serve(stream, context)
  }

  resume(connection: AcceptedLink, resume: IncomingResume): void {
    const session = this.#seats.get(connection)?.session
    if (session !== undefined) this.#resumes.resume(connection, session, resume)
  }
}

/** An OPEN whose first copy has arrived after all asks to go on from the beginning. */
function asResume({ link, number, head, headBytes }: IncomingOpen): IncomingResume {
  return {
    link,
    number,
    headBytes,
    head: { ...head, received: 0, limit: head.window, attempt: head.attempt ?? 0 },
  }
}
