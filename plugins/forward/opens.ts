import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { IncomingOpen } from '../../protocol/link/handlers.ts'
import { HeldSeat } from '../../protocol/link/held-seat.ts'
import type { Link } from '../../protocol/link/link.ts'
import { incomingCost } from '../../protocol/stream/relay-memory.ts'
import type { AgentRoute, Route } from '../machines/index.ts'
import { vouched } from './admission.ts'
import type { Carriage } from './carriage.ts'
import { goneElsewhere, idInUse, refusalOf, tooManyRefusals } from './errors.ts'
import type { StreamOwners } from './owners.ts'
import type { Passage } from './passage.ts'
import type { Relays } from './sealed/relays.ts'
import type { Session } from './sessions.ts'
import type { OpenerLink } from './streams.ts'

export interface OpensContext {
  readonly owners: StreamOwners
  readonly relays: Relays
  readonly carriage: Carriage
  /** How long a stream that has no path is waited for, in ms. */
  readonly resumeMs: number
  /** The passage of a stream that begins here. @throws {TunnelError} TOO_MANY_STREAMS */
  passageOf(opener: OpenerLink, session: Session, head: IncomingOpen['head']): Passage
}

/** One OPEN, from its coming until its stream is carried or refused. */
interface Asking {
  readonly opener: OpenerLink
  readonly session: Session
  readonly passage: Passage
  readonly open: IncomingOpen
  readonly held: HeldSeat
  /** It asks once more for a stream that was admitted before and never reached its machine. */
  readonly isAgain: boolean
}

/** Streams that are asked for: each is admitted, then relayed to its agent or carried from here. */
export class Opens {
  readonly #context: OpensContext
  #refusal: TunnelError | undefined

  constructor(context: OpensContext) {
    this.#context = context
  }

  /** From now on no stream begins that would end at this proxy; sealed ones go on through whoever takes its place. */
  refuseNew(error: TunnelError): void {
    this.#refusal = error
  }

  /** @throws {TunnelError} what refuses the stream at once */
  open(opener: OpenerLink, session: Session, open: IncomingOpen): void {
    const { head, link, number } = open
    const known = session.passages.get(head.id)
    if (known?.isFor(head) === false) throw idInUse()
    this.#checkKind(session, open)
    const passage = known ?? this.#context.passageOf(opener, session, head)
    if (!passage.wasCarried) passage.beginHere()
    const cost = incomingCost(open)
    try {
      if (known === undefined && passage.context.mode === 'inspected' && this.#refusal !== undefined)
        throw this.#refusal
      session.memory.take(cost)
    } catch (error) {
      this.#countRefusal(session, link)
      passage.over(asTunnelError(error, 'proxy'))
      throw error
    }
    const held = new HeldSeat(link, number)
    passage.newest = held
    const isAgain = known?.mayOpenAgain === true
    void this.#open({ opener, session, passage, open, held, isAgain }, cost)
  }

  /** Before there is a passage: nothing is counted under a name that somebody thought of, but the refusal is. */
  #checkKind(session: Session, { head, link }: IncomingOpen): void {
    try {
      this.#context.carriage.checkKind(head.kind)
    } catch (error) {
      this.#countRefusal(session, link)
      throw error
    }
  }

  async #open(asking: Asking, cost: number): Promise<void> {
    const { session, passage, open, held } = asking
    let handedOver = false
    try {
      const route = await this.#admit(asking, cost)
      if (held.gone) return this.#goneEarly(asking)
      if (passage.isOver) return held.refuse(goneElsewhere())
      held.grant()
      handedOver = true
      const isRelayed = passage.context.mode === 'sealed' && route.source === 'agent'
      if (isRelayed) await this.#relay(asking, route)
      else this.#acceptHere(asking, route)
    } catch (thrown) {
      const error = asTunnelError(thrown, 'proxy')
      this.#countRefusal(session, open.link)
      if (passage.newest === held) passage.over(error)
      if (handedOver) open.link.refuse(open.number, error)
      else held.refuse(hasBegunNowhere(open) ? refusalOf(error) : error)
    }
  }

  /** `cost` is what the OPEN holds of the user's memory meanwhile. */
  async #admit({ opener, session, passage, open, isAgain }: Asking, cost: number): Promise<Route> {
    try {
      await opener.admitted
      // Each begins with a window of credit.
      if (session.pace !== undefined) await session.pace.clear()
      passage.askedBy(opener.context)
      const known = isAgain ? await passage.readmit(open.head.target) : undefined
      return known ?? (await passage.admit())
    } finally {
      session.memory.give(cost)
    }
  }

  /** Before it was admitted its opener gave it up, or lost the link and may ask again. */
  #goneEarly({ session, passage, held }: Asking): void {
    if (held.error !== undefined) return passage.over(held.error)
    const { relays, resumeMs } = this.#context
    const isElsewhere = passage.newest !== held || relays.has(passage) || session.acceptor.knows(passage.id)
    if (!isElsewhere) passage.suspended(resumeMs)
  }

  #countRefusal({ refusals }: Session, link: Link): void {
    if (!refusals.take()) link.close(tooManyRefusals())
  }

  async #relay({ session, passage, open }: Asking, route: AgentRoute): Promise<void> {
    const relay = this.#context.relays.add(session, passage, open)
    try {
      const link = await route.link()
      await passage.opened()
      if (relay.over) return
      const { head } = open
      const { target } = passage.context
      const isOther = target !== undefined && target !== head.target
      relay.connect(link, {
        ...head,
        ...vouched(passage, route, link),
        ...(isOther ? { target, asked: head.target ?? '' } : {}),
      })
    } catch (thrown) {
      this.#countRefusal(session, open.link)
      relay.reset(asTunnelError(thrown, 'proxy'))
    }
  }

  #acceptHere({ session, passage, open }: Asking, route: Route): void {
    // An OPEN beside this one was admitted first: this one asks to go on with what that has begun.
    if (session.acceptor.knows(passage.id)) {
      session.acceptor.open(open, session.userId)
      return
    }
    const { owners, carriage } = this.#context
    const disown = owners.add(passage.id, session.userId)
    const refused = session.acceptor.open(open, session.userId, {
      onStream: (stream) => void carriage.carry(stream, passage, route),
      onOver: (error) => {
        disown()
        passage.over(error)
      },
    })
    if (refused === undefined) return
    disown()
    this.#countRefusal(session, open.link)
    passage.over(refused)
  }
}

/** No earlier attempt may have been let in, here or at another replica. */
function hasBegunNowhere({ head: { attempt = 0 } }: IncomingOpen): boolean {
  return attempt === 0
}
