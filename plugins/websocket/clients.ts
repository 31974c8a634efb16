import { pipeline } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { asTunnelError, TunnelError } from '../../protocol/errors.ts'
import type { StreamHead } from '../../protocol/heads.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link.ts'
import { StreamDuplex } from '../../protocol/node/duplex.ts'
import { Relay } from '../../protocol/relay.ts'
import type { TunnelStream } from '../../protocol/stream.ts'
import type { User } from '../auth/index.ts'
import type { OpenContext } from '../forward/index.ts'
import { agentMayNotOpen, hostHungUp, tokenExpired, tooManyLinks, unknownStream } from './errors.ts'
import type { Connection, Listener } from './listener.ts'
import type { WebSocketPluginOptions } from './options.ts'
import { type Session, Sessions } from './session.ts'

/**
 * How long a resumed stream waits for an agent of which nothing is known here, in ms: it may be on its way from a
 * proxy that left. After that there is no such stream.
 */
const STRANGER_MS = 5_000

/** What clients ask for on their links: sealed streams are relayed to agents, inspected ones end here. */
export class Clients implements Listener {
  readonly #app: FastifyInstance
  readonly #options: WebSocketPluginOptions
  readonly #sessionOf = new Map<Connection, Session>()
  /** Whose sealed streams pass through here, by id: to know an attempt on another user's. */
  readonly #sealed = new Map<string, { userId: string; relays: number }>()
  readonly sessions: Sessions
  relays = 0

  constructor(app: FastifyInstance, options: WebSocketPluginOptions) {
    this.#app = app
    this.#options = options
    this.sessions = new Sessions(options.streams)
  }

  /** Throws TOO_MANY_CONNECTIONS. */
  checkRoom(user: User): void {
    const { linksPerUser } = this.#options.limits
    if (this.sessions.linksOf(user.sub) < linksPerUser) return
    this.#app.tunnelMetrics.rateLimited.inc({ scope: 'link', tier: user.tier })
    throw tooManyLinks(linksPerUser)
  }

  accepted(connection: Connection): void {
    const { link, context } = connection
    this.checkRoom(context.user)
    this.#sessionOf.set(connection, this.sessions.join(context.user.sub, link))
  }

  closed(connection: Connection): void {
    const session = this.#sessionOf.get(connection)
    this.#sessionOf.delete(connection)
    if (session !== undefined) this.sessions.leave(session, connection.link)
  }

  open(connection: Connection, open: IncomingOpen): void {
    // A proxy's own word.
    delete open.head.asked
    const context = this.#contextOf(connection, open)
    if (context.user.roles.includes('agent')) throw agentMayNotOpen()
    const session = this.#sessionOf.get(connection)
    if (session === undefined) return
    const machine = this.#app.machines.find(context.user.sub, context.machine)
    if (context.mode === 'sealed' && machine?.source !== 'configured') {
      let admittedAtMs: number | undefined
      const relay = this.#relay(session, open, (error) => {
        if (admittedAtMs === undefined) return
        const durationMs = performance.now() - admittedAtMs
        void this.#app.tunnel.tell('onClose', { ...context, error, durationMs })
      })
      const admitted = () => {
        admittedAtMs = performance.now()
      }
      void this.#openSealed(connection, relay, context, admitted)
    } else {
      session.acceptor.open(
        open,
        context.user.sub,
        (stream) => void this.#openHere(connection, stream, context),
      )
    }
  }

  #contextOf({ context }: Connection, { head }: IncomingOpen): OpenContext {
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

  #relay(
    session: Session,
    incoming: IncomingOpen | IncomingResume,
    onOver?: (error: TunnelError | undefined) => void,
  ): Relay {
    const metrics = this.#app.tunnelMetrics
    const forget = this.#remember(incoming.head.id, session.userId)
    const carried = { up: 0, down: 0 }
    this.relays++
    return new Relay(incoming, {
      memory: session.memory,
      onBytes: (direction, byteCount) => {
        carried[direction] += byteCount
      },
      onOver: (error) => {
        this.relays--
        forget()
        metrics.bytes.inc({ direction: 'in', mode: 'sealed' }, carried.up)
        metrics.bytes.inc({ direction: 'out', mode: 'sealed' }, carried.down)
        onOver?.(error)
      },
    })
  }

  #remember(id: string, userId: string): () => void {
    const known = this.#sealed.get(id) ?? { userId, relays: 0 }
    if (known.userId !== userId) return () => {}
    this.#sealed.set(id, known)
    known.relays++
    return () => {
      known.relays--
      if (known.relays === 0) this.#sealed.delete(id)
    }
  }

  #isForeign(id: string, userId: string): boolean {
    const sealed = this.#sealed.get(id)
    return (sealed !== undefined && sealed.userId !== userId) || this.sessions.isForeign(id, userId)
  }

  async #openSealed(
    connection: Connection,
    relay: Relay,
    context: OpenContext,
    onAdmitted: () => void,
  ): Promise<void> {
    const { head } = context
    const app = this.#app
    try {
      await connection.admitted
      const { user } = connection.context
      context.user = user
      await app.forward.authorise(context)
      // It may have been given up meanwhile.
      if (relay.over) return
      onAdmitted()
      const link = await app.machines.agentLink(user.sub, context.machine)
      await app.tunnel.run('onOpen', context)
      if (relay.over) return
      const { target } = context
      const passed: StreamHead = { ...head, subject: user.sub }
      if (target !== undefined && target !== head.target) {
        passed.target = target
        passed.asked = head.target ?? ''
      }
      relay.connect(link, passed)
      app.tunnelMetrics.requests.inc({ kind: head.kind, outcome: 'ok' })
      context.log.info({ context: { machine: context.machine, kind: head.kind } }, 'stream open')
    } catch (thrown) {
      const error = asTunnelError(thrown)
      this.#refused(context, error)
      relay.reset(error)
    }
  }

  #refused(context: OpenContext, error: TunnelError): void {
    const { machine, head, log } = context
    this.#app.tunnelMetrics.countError(error)
    if (error.code === 'INTERNAL') log.error({ err: error }, 'opening a stream failed')
    else log.info({ context: { machine, kind: head.kind, code: error.code } }, 'stream refused')
  }

  /** A stream that ends at this proxy: inspected, or sealed to a host that has no agent. */
  async #openHere(connection: Connection, stream: TunnelStream, context: OpenContext): Promise<void> {
    try {
      await connection.admitted
      context.user = connection.context.user
      await this.#app.forward.authorise(context)
    } catch (thrown) {
      const error = asTunnelError(thrown)
      this.#refused(context, error)
      stream.reset(error)
      return
    }
    if (context.mode === 'sealed') await this.#serveConfigured(stream, context)
    else await this.#app.forward.serve(stream, context)
  }

  async #serveConfigured(stream: TunnelStream, context: OpenContext): Promise<void> {
    const { user, machine, target } = context
    const { tunnel, tunnelMetrics } = this.#app
    const sinceMs = performance.now()
    const over = (error: TunnelError | undefined): void => {
      void tunnel.tell('onClose', { ...context, error, durationMs: performance.now() - sinceMs })
    }
    try {
      if (target !== undefined) {
        throw new TunnelError('POLICY_DENIED', 'a configured host is reached at its own address alone', {
          hop: 'proxy',
        })
      }
      const socket = await this.#app.machines.connect(user.sub, machine, { kind: 'ssh' })
      await tunnel.run('onOpen', context).catch((error: unknown) => {
        socket.destroy()
        throw error
      })
      if (stream.state === 'closed') {
        socket.destroy()
        return over(undefined)
      }
      if (socket.destroyed) throw hostHungUp(machine)
      stream.accept()
      tunnelMetrics.requests.inc({ kind: 'ssh', outcome: 'ok' })
      const duplex = new StreamDuplex(stream)
      // Each direction tells the other's failure.
      pipeline(duplex, socket, duplex, (error) => over(error ? asTunnelError(error, 'ABORTED') : undefined))
    } catch (thrown) {
      const error = asTunnelError(thrown)
      this.#refused(context, error)
      stream.reset(error)
      over(error)
    }
  }

  resume(connection: Connection, resume: IncomingResume): void {
    const session = this.#sessionOf.get(connection)
    if (session === undefined) return
    const { user } = connection.context
    delete resume.head.asked
    const { id, kind, machine } = resume.head
    const source = this.#app.machines.find(user.sub, machine)?.source
    if (kind !== 'ssh' || source === 'configured' || session.acceptor.knows(id)) {
      return this.#resumeHere(connection, session, resume)
    }
    if (this.#isForeign(id, user.sub)) this.#foreign(connection, resume)
    let stopWaiting: (() => void) | undefined
    let stranger: NodeJS.Timeout | undefined
    const relay = this.#relay(session, resume, () => {
      stopWaiting?.()
      clearTimeout(stranger)
    })
    void (async () => {
      try {
        await this.#mayResume(connection, resume)
        if (relay.over) return
        const head = { ...resume.head, subject: user.sub }
        // The agent may be dialling still: the stream waits here, for as long as its opener does.
        stopWaiting = this.#app.machines.whenOnline(
          user.sub,
          machine,
          (link) => {
            clearTimeout(stranger)
            relay.connect(link, head)
          },
          (error) => relay.reset(error),
        )
        if (relay.over) stopWaiting()
        else if (source === undefined) {
          stranger = setTimeout(() => relay.reset(unknownStream()), STRANGER_MS).unref()
        }
        this.#app.tunnelMetrics.streamResumes.inc({ outcome: 'ok' })
      } catch (thrown) {
        relay.reset(this.#resumeRefused(connection, resume, asTunnelError(thrown)))
      }
    })()
  }

  #resumeHere(connection: Connection, session: Session, resume: IncomingResume): void {
    const { link, context } = connection
    const { sub } = context.user
    if (!session.acceptor.knows(resume.head.id)) {
      if (this.#isForeign(resume.head.id, sub)) this.#foreign(connection, resume)
      this.#app.tunnelMetrics.streamResumes.inc({ outcome: 'UNKNOWN_STREAM' })
      return link.refuse(resume.number, session.acceptor.unknown())
    }
    // The number must have somebody behind it while policy is asked: a relay that goes nowhere holds it.
    const place = this.#relay(session, resume)
    void (async () => {
      try {
        await this.#mayResume(connection, resume)
        if (place.over) return
        const early = place.leave()
        if (link.closed) return
        session.acceptor.resume(resume, sub)
        if (early !== undefined) link.redeliver(early)
        this.#app.tunnelMetrics.streamResumes.inc({ outcome: 'ok' })
      } catch (thrown) {
        place.reset(this.#resumeRefused(connection, resume, asTunnelError(thrown)))
      }
    })()
  }

  /** A resume is authorised like an open, but for what an open uses up. */
  async #mayResume(connection: Connection, { head }: IncomingResume): Promise<void> {
    await connection.admitted
    const { user } = connection.context
    if (user.expiresAtMs <= Date.now()) throw tokenExpired()
    await this.#app.policy.check({
      user,
      machine: head.machine,
      owner: user.sub,
      mode: head.kind === 'ssh' ? 'sealed' : 'inspected',
      kind: head.kind,
      ...(head.target === undefined ? {} : { target: head.target }),
    })
  }

  /** Who may not resume learns nothing of what there is. */
  #resumeRefused(connection: Connection, resume: IncomingResume, error: TunnelError): TunnelError {
    this.#app.tunnelMetrics.streamResumes.inc({ outcome: error.code })
    if (error.code !== 'POLICY_DENIED') return error
    this.#foreign(connection, resume)
    return unknownStream()
  }

  #foreign({ context }: Connection, { head }: IncomingResume): void {
    const { user, correlationId, log } = context
    const { id: streamId, machine } = head
    log.warn({ context: { streamId, machine } }, 'a resume of a stream of another user was refused')
    this.#app.audit.record({
      event: 'resume.refused',
      userId: user.sub,
      machine,
      correlationId,
      details: { streamId },
    })
  }
}
