import type { Clock } from '../../protocol/clock.ts'
import { asTunnelError, type ErrorCode, type TunnelError } from '../../protocol/codec/errors.ts'
import { isSealed } from '../../protocol/codec/heads.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import { HeldSeat } from '../../protocol/link/held-seat.ts'
import { incomingCost } from '../../protocol/stream/relay-memory.ts'
import type { Route } from '../machines/index.ts'
import { vouched } from './admission.ts'
import { unknownStream } from './errors.ts'
import type { StreamOwners } from './owners.ts'
import type { Passage } from './passage.ts'
import { mayAskAgain, type Relays } from './sealed/relays.ts'
import type { Session } from './sessions.ts'
import type { OpenerLink, StreamServices } from './streams.ts'

/**
 * How long a resumed stream holds its place for an agent of which nothing is known here, in ms: it may be on its way
 * from a proxy that left. After that a SUSPEND tells its opener to keep it and to ask again; or, if it is known to
 * belong to another user, the answer is that the stream is not known.
 */
const STRANGER_MS = 5_000

export interface ResumesContext {
  readonly services: StreamServices
  readonly clock: Clock
  readonly owners: StreamOwners
  readonly relays: Relays
  /** The passage of a stream that comes from another proxy. @throws {TunnelError} TOO_MANY_STREAMS */
  passageOf(opener: OpenerLink, session: Session, head: IncomingOpen['head']): Passage
}

/** Streams that come back: each is authorised again, and joined to the part that carries it. */
export class Resumes {
  readonly #context: ResumesContext

  constructor(context: ResumesContext) {
    this.#context = context
  }

  resume(opener: OpenerLink, session: Session, resume: IncomingResume): void {
    const { head, link, number } = resume
    const known = session.passages.get(head.id)
    const isOther = known?.isFor({ ...head, window: head.limit }) === false
    if (isOther) throw unknownStream()
    const passage = known ?? this.#passageOf(opener, session, resume)
    const cost = incomingCost(resume)
    try {
      session.memory.take(cost)
    } catch (error) {
      if (known === undefined) passage.forget()
      throw error
    }
    const held = new HeldSeat(link, number)
    passage.newest = held
    const admission = this.#admit(opener, passage, resume).finally(() => session.memory.give(cost))
    void this.#resume(opener, session, passage, resume, held, admission)
  }

  #passageOf(opener: OpenerLink, session: Session, { head }: IncomingResume): Passage {
    return this.#context.passageOf(opener, session, { ...head, window: head.limit })
  }

  async #admit(opener: OpenerLink, passage: Passage, { head }: IncomingResume): Promise<Route | undefined> {
    await opener.admitted
    // Each begins with a window of credit.
    if (passage.session.pace !== undefined) await passage.session.pace.clear()
    passage.askedBy(opener.context)
    return passage.readmit(head.target)
  }

  async #resume(
    opener: OpenerLink,
    session: Session,
    passage: Passage,
    resume: IncomingResume,
    held: HeldSeat,
    admission: Promise<Route | undefined>,
  ): Promise<void> {
    const { id, kind } = resume.head
    let handedOver = false
    try {
      const route = await admission
      const isHere = session.acceptor.knows(id)
      if (isHere) return this.#resumeHere(session, passage, resume, held)
      if (!isSealed(kind) || route?.source === 'configured') throw session.acceptor.unknown()
      if (held.gone && held.error === undefined) return this.#forget(passage, held)
      if (passage.isOver && held.gone) return
      if (route === undefined) held.release()
      else held.grant()
      handedOver = true
      // It ended meanwhile: who has it says how, as to whoever asks later.
      if (passage.isOver) return this.resume(opener, session, resume)
      this.#relay(opener, session, passage, resume, held.error, route)
    } catch (thrown) {
      const error = asTunnelError(thrown, 'proxy')
      if (error.code === 'UNKNOWN_STREAM' && this.#isForeign(resume, session))
        this.#recordForeign(opener, session, resume)
      this.#count(error.code)
      // Who may not resume learns nothing of what there is.
      const told = error.code === 'POLICY_DENIED' ? unknownStream() : error
      if (handedOver) resume.link.refuse(resume.number, told)
      else held.refuse(told)
      this.#forget(passage, held)
      // Its opener has been told that it is over. One that ends here waits for its own resume window,
      // and one that was never taken is opened again.
      if (passage.newest !== held || passage.stage !== 'suspended') return
      if (!session.acceptor.knows(id) && !mayAskAgain(passage, error)) passage.over(error)
    }
  }

  /** A passage that only attempts have made goes with the last of them. */
  #forget(passage: Passage, held?: HeldSeat): void {
    if (!passage.context.moved || passage.wasCarried) return
    const isLast = held === undefined || (passage.newest === held && !this.#context.relays.has(passage))
    if (isLast) passage.forget()
  }

  /** A stream that ends at this proxy. */
  #resumeHere(session: Session, passage: Passage, resume: IncomingResume, held: HeldSeat): void {
    this.#forget(passage)
    if (held.gone) {
      // Its opener has given it up, on its new link.
      if (held.error !== undefined) session.acceptor.abandon(resume.head.id, session.userId, held.error)
      return
    }
    held.grant()
    session.acceptor.resume(resume, session.userId)
    this.#count('ok')
  }

  #relay(
    opener: OpenerLink,
    session: Session,
    passage: Passage,
    resume: IncomingResume,
    givenUp: TunnelError | undefined,
    route: Route | undefined,
  ): void {
    const { clock, services, relays } = this.#context
    const isForeign = this.#isForeign(resume, session)
    let stopWaiting: (() => void) | undefined
    let stranger: unknown
    let answered = false
    const relay = relays.add(session, passage, resume, {
      answered: () => {
        if (answered) return
        answered = true
        this.#count('ok')
        // The proxy that it came from ran these for itself.
        passage.opened()?.catch((error: TunnelError) => relay.reset(error))
      },
      left: (error) => {
        stopWaiting?.()
        clock.clearTimer(stranger)
        if (answered || error === undefined) return
        this.#count(error.code)
        if (isForeign && error.code === 'UNKNOWN_STREAM') this.#recordForeign(opener, session, resume)
      },
    })
    if (givenUp !== undefined) relay.giveUp(givenUp)
    const { owner, name } = route ?? { owner: session.userId, name: resume.head.machine }
    // The agent may be dialling still: the stream waits here, for as long as its opener does.
    stopWaiting = services.machines.whenOnline(
      owner,
      name,
      (link) => {
        clock.clearTimer(stranger)
        relay.connect(link, { ...resume.head, ...vouched(passage, { owner }, link) })
      },
      (error) => relay.reset(error),
    )
    if (relay.over) stopWaiting()
    else if (route === undefined && !relay.connected) {
      const unknown = (): void => (isForeign ? relay.reset(unknownStream()) : relay.suspend())
      stranger = clock.setTimer(unknown, STRANGER_MS)
    }
  }

  #count(outcome: 'ok' | ErrorCode): void {
    this.#context.services.tunnelMetrics.streamResumes.inc({ outcome })
  }

  #isForeign({ head }: IncomingResume, session: Session): boolean {
    return this.#context.owners.isForeign(head.id, session.userId)
  }

  /** An attempt on a stream that somebody else has now, or has just had. */
  #recordForeign({ context }: OpenerLink, { told }: Session, { head }: IncomingResume): void {
    const leftOut = told.take('UNKNOWN_STREAM')
    if (leftOut === undefined) return
    const { user, correlationId, log } = context
    const { id: streamId, machine } = head
    log.warn({ context: { streamId, machine } }, 'a resume of a stream of another user was refused')
    this.#context.services.audit.record({
      event: 'resume.refused',
      userId: user.sub,
      machine,
      correlationId,
      details: { streamId, ...(leftOut > 0 && { leftOut }) },
    })
  }
}
