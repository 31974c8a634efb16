import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { Target } from '../../protocol/codec/target.ts'
import type { Route } from '../machines/index.ts'
import { Absence } from './absence.ts'
import { askToGoOn, askToOpen } from './admission.ts'
import { type Ending, measure, measureAnswer, measureOpening, tell } from './ending.ts'
import { goneElsewhere, windowOver } from './errors.ts'
import type { LinkContext, OpenContext } from './hooks.ts'
import { Parties } from './parties.ts'
import type { PassageSession } from './sessions.ts'
import type { PassageShared } from './shared.ts'
import type { PassageStage } from './stage.ts'
import { PassageTrace } from './trace.ts'
import { Watchers } from './watched-stream.ts'

/**
 * The life of one stream at this proxy, whatever carries it and over however many links. Nothing else counts, times,
 * audits or logs a stream, or runs its hooks.
 */
export class Passage extends Parties {
  readonly shared: PassageShared
  readonly session: PassageSession
  readonly trace: PassageTrace
  readonly watchers = new Watchers()
  readonly #onLeft: (error?: TunnelError) => void
  readonly #beganMs: number
  readonly #absence: Absence
  #stage: PassageStage = 'asking'
  #admitted = false
  #target: Target | undefined
  #mayOpenAgain = false
  #opened = false
  #opening: Promise<void> | undefined
  #answered = false
  /** Since it was asked for, in ms: when it had been admitted, and when its connection was there. */
  #admittedMs = 0
  #openedMs = 0
  #wasCarried = false
  /** Payload so far; `in` is towards the machine. */
  readonly bytes = { in: 0, out: 0 }
  /** The newest of those that ask for the stream: the failure of an older one is not the stream's. */
  newest: unknown

  /**
   * `onLeft` is called once, when the stream is over or has gone to another proxy. With an error, whatever still carries
   * the stream must end with it: it would go on, and nothing would be said of it.
   */
  constructor(
    context: OpenContext,
    shared: PassageShared,
    session: PassageSession,
    onLeft: (error?: TunnelError) => void,
  ) {
    super(context)
    this.shared = shared
    this.session = session
    this.#onLeft = onLeft
    this.#beganMs = shared.clock.now()
    this.#absence = new Absence(shared.clock, context.head.attempt)
    this.trace = new PassageTrace(context, shared.services.tracing)
  }

  /** Since it was asked for here. */
  get ageMs(): number {
    return this.shared.clock.now() - this.#beganMs
  }
  get stage(): PassageStage {
    return this.#stage
  }
  get isOver(): boolean {
    return this.#stage === 'over'
  }
  /** Bytes have been able to flow at some time. */
  get wasCarried(): boolean {
    return this.#wasCarried
  }

  /** It has been admitted as an open, so that it may be opened again as cheaply as it goes on. */
  get mayOpenAgain(): boolean {
    return this.#mayOpenAgain
  }

  /** Its opener has asked for it where we did not see that, and it has not come back since: it may have ended there. */
  get wasElsewhere(): boolean {
    return this.#absence.wasElsewhere
  }

  /** Where it goes on the machine's side, once it has been admitted; undefined where its opener named no target. */
  get target(): Target | undefined {
    return this.#target
  }

  /** As `askToOpen`. @throws {TunnelError} what refuses it; `over` with the same error is still owed */
  async admit(): Promise<Route> {
    const { route, target } = await this.trace.admission(() => askToOpen(this.context, this.shared))
    this.#target = target
    if (target !== undefined) this.context.target = target.authority
    this.leadsTo(route)
    this.#mayOpenAgain = true
    this.#nowAdmitted()
    return route
  }

  /** As `askToGoOn`. */
  async readmit(named: string | undefined): Promise<Route | undefined> {
    const ask = () => askToGoOn(this.context, this.shared, named, this.owner)
    const route = await this.trace.admission(ask)
    if (route !== undefined) this.leadsTo(route)
    this.#nowAdmitted()
    return route
  }

  /** Another replica has admitted it, and hands it over. */
  handedOver(opener: LinkContext, place: Pick<Route, 'owner' | 'name'>): void {
    this.askedBy(opener)
    this.leadsTo(place)
    this.#nowAdmitted()
  }

  #nowAdmitted(): void {
    if (!this.#admitted) this.#admittedMs = this.ageMs
    this.#admitted = true
    if (this.#stage === 'asking') this.#stage = 'admitted'
  }

  /**
   * The way to the machine stands: the hooks `onOpen`, once, and whoever asks meanwhile waits for the same answer.
   * Undefined where nothing is to be waited for.
   * @throws {TunnelError} what a hook ends the stream with
   */
  opened(): Promise<void> | undefined {
    // Of one that is over, onClose has been told.
    if (this.#opened || this.#stage === 'over') return this.#opening
    this.#opened = true
    this.#openedMs = this.ageMs
    const { hooks } = this.shared
    if (hooks.has('onOpen')) this.#opening = hooks.run('onOpen', this.context)
    return this.#opening
  }

  /** Its OPEN has come after all, behind a RESUME that was faster: it did not begin at another proxy. */
  beginHere(): void {
    this.context.moved = false
  }

  /** Bytes may flow: the machine has taken the stream, or taken it back. */
  carrying(): void {
    if (this.#stage === 'over') return
    const isFirst = !this.#wasCarried
    if (this.#stage === 'suspended') this.trace.resumed(this.#absence.lengthMs)
    this.#stage = 'open'
    this.#wasCarried = true
    this.#absence.end()
    if (!isFirst) return
    measureOpening(this, undefined, this.ageMs)
    const { machine, head, log } = this.context
    if (head.kind !== 'http') this.trace.answered(this.ageMs)
    log[head.kind === 'http' ? 'debug' : 'info']({ context: { machine, kind: head.kind } }, 'stream open')
  }

  /** Payload: `in` is towards the machine. */
  carried(direction: 'in' | 'out', byteCount: number): void {
    if (this.context.via === undefined) this.shared.bytes[this.context.mode][direction] += byteCount
    this.session.pace?.spend(byteCount)
    this.bytes[direction] += byteCount
  }

  /** The head of a response is there: for a request this, and not its end, is the latency. */
  answered(): void {
    this.#answered = true
    measureAnswer(this, { admittedMs: this.#admittedMs, openedMs: this.#openedMs, answeredMs: this.ageMs })
    this.trace.answered(this.ageMs)
  }

  /** The stream has no path now. One that nobody asks for within `windowMs`, where that is given, is over. */
  suspended(windowMs?: number): void {
    if (this.#stage === 'over') return
    if (this.#stage !== 'suspended') {
      this.#absence.begin()
      this.trace.suspended()
    }
    this.#stage = 'suspended'
    this.#absence.wait(windowMs, (ms) =>
      this.context.via === undefined ? this.over(windowOver(ms)) : this.moved(),
    )
  }

  /** Its opener asks for it: what comes of that says how the stream goes on. `attempt` counts what it has asked so far. */
  asked(attempt: number): void {
    this.#absence.asked(attempt)
  }

  /** It has a path again. */
  resumed(): void {
    if (this.#stage !== 'suspended') return
    this.trace.resumed(this.#absence.lengthMs)
    this.#stage = this.#wasCarried ? 'open' : 'admitted'
  }

  /** Once: the stream has ended, by `error` or in order. Later calls do nothing. */
  over(error?: TunnelError): void {
    if (this.#stage === 'over') return
    const ending = this.#end(error)
    if (!this.#wasCarried && error !== undefined) measureOpening(this, error, ending.durationMs)
    if (this.context.via === undefined) measure(this, ending, !this.#answered && !this.context.moved)
    tell(this, ending, this.#admitted ? 'stream.closed' : 'stream.refused')
    this.#onLeft(error)
  }

  /** A stream that came from another proxy is not there any more: nothing was here that could end. */
  forget(): void {
    if (this.#stage === 'over') return
    this.#end(undefined)
    this.#onLeft()
  }

  /** Once: the stream goes on through another proxy, which counts it when it ends. Nobody here is done with it. */
  moved(): void {
    if (this.#stage === 'over') return
    tell(this, this.#end(goneElsewhere()), 'stream.moved')
    this.#onLeft()
  }

  #end(error: TunnelError | undefined): Ending {
    this.watchers.over(error)
    this.#stage = 'over'
    this.#absence.stopWaiting()
    const { in: bytesIn, out: bytesOut } = this.bytes
    const ending = { error, admitted: this.#admitted, durationMs: this.ageMs, bytesIn, bytesOut }
    this.trace.ended(ending)
    return ending
  }
}
