import type { FastifyInstance } from 'fastify'
import { asTunnelError, type ErrorCode, type TunnelError } from '../../protocol/codec/errors.ts'
import type { IncomingResume } from '../../protocol/link/handlers.ts'
import { HeldSeat } from '../../protocol/link/held-seat.ts'
import { incomingCost } from '../../protocol/stream/relay-memory.ts'
import type { AcceptedLink } from './door.ts'
import { tokenExpired, unknownStream } from './errors.ts'
import type { Relays } from './relays.ts'
import type { Session, Sessions } from './session.ts'

/**
 * How long a resumed stream holds its place for an agent of which nothing is known here, in ms: it may be on its way
 * from a proxy that left. After that its opener is told to keep it and to ask again; or, if it is known to be somebody
 * else's, that there is no such stream.
 */
const STRANGER_MS = 5_000

/** Streams that come back: authorised again, and joined to whoever has them. */
export class Resumes {
  readonly #app: FastifyInstance
  readonly #relays: Relays
  readonly #sessions: Sessions

  constructor(app: FastifyInstance, relays: Relays, sessions: Sessions) {
    this.#app = app
    this.#relays = relays
    this.#sessions = sessions
  }

  resume(connection: AcceptedLink, session: Session, resume: IncomingResume): void {
    const { user } = connection.context
    const { id, kind, machine } = resume.head
    const source = this.#app.machines.find(user.sub, machine)?.source
    if (kind !== 'ssh' || source === 'configured' || session.acceptor.knows(id)) {
      return this.here(connection, session, resume)
    }
    const isForeign = this.#isForeign(id, user.sub)
    let stopWaiting: (() => void) | undefined
    let stranger: NodeJS.Timeout | undefined
    let outcome: 'ok' | ErrorCode | undefined
    const relay = this.#relays.add(session, resume, {
      onAnswered: () => {
        if (outcome !== undefined) return
        outcome = 'ok'
        this.#app.tunnelMetrics.streamResumes.inc({ outcome })
      },
      onOver: (error) => {
        stopWaiting?.()
        clearTimeout(stranger)
        if (outcome !== undefined || error === undefined) return
        this.#app.tunnelMetrics.streamResumes.inc({ outcome: error.code })
        if (isForeign && error.code === 'UNKNOWN_STREAM') this.#foreign(connection, resume)
      },
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
          const unknown = () => (isForeign ? relay.reset(unknownStream()) : relay.suspend())
          stranger = setTimeout(unknown, STRANGER_MS).unref()
        }
      } catch (thrown) {
        const error = asTunnelError(thrown)
        outcome = error.code
        relay.reset(this.#refused(error))
      }
    })()
  }

  /** A stream that ends at this proxy. */
  here(connection: AcceptedLink, session: Session, resume: IncomingResume): void {
    const { link, context } = connection
    const { sub } = context.user
    if (!session.acceptor.knows(resume.head.id)) {
      if (this.#isForeign(resume.head.id, sub)) this.#foreign(connection, resume)
      this.#app.tunnelMetrics.streamResumes.inc({ outcome: 'UNKNOWN_STREAM' })
      return link.refuse(resume.number, session.acceptor.unknown())
    }
    const { memory } = session
    const heldBytes = incomingCost(resume)
    memory.take(heldBytes)
    const seat = new HeldSeat(link, resume.number)
    void (async () => {
      try {
        await this.#mayResume(connection, resume)
        if (seat.error !== undefined) return session.acceptor.abandon(resume.head.id, sub, seat.error)
        if (seat.gone) return
        seat.release()
        session.acceptor.resume(resume, sub)
        this.#app.tunnelMetrics.streamResumes.inc({ outcome: 'ok' })
      } catch (thrown) {
        seat.refuse(this.#refused(asTunnelError(thrown)))
      } finally {
        memory.give(heldBytes)
      }
    })()
  }

  #isForeign(id: string, userId: string): boolean {
    return this.#relays.isForeign(id, userId) || this.#sessions.isForeign(id, userId)
  }

  /** A resume is authorised like an open, but for what an open uses up. */
  async #mayResume(connection: AcceptedLink, { head }: IncomingResume): Promise<void> {
    await connection.admitted
    const { user } = connection.context
    if (user.expiresAtMs <= Date.now()) throw tokenExpired()
    const { machine, kind, target } = head
    await this.#app.forward.checkPolicy(user, { machine, owner: user.sub, kind, target })
  }

  /** Who may not resume learns nothing of what there is. */
  #refused(error: TunnelError): TunnelError {
    this.#app.tunnelMetrics.streamResumes.inc({ outcome: error.code })
    return error.code === 'POLICY_DENIED' ? unknownStream() : error
  }

  /** An attempt on a stream that somebody else has now, or has just had. */
  #foreign({ context }: AcceptedLink, { head }: IncomingResume): void {
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
