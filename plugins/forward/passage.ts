import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { RoutedHead } from '../../protocol/codec/heads.ts'
import type { Target } from '../../protocol/codec/target.ts'
import { readTraceparent } from '../../protocol/codec/traceparent.ts'
import type { User } from '../auth/index.ts'
import type { Route } from '../machines/index.ts'
import type { StreamTrace } from '../tracing/index.ts'
import { askToGoOn, askToOpen } from './admission.ts'
import { type Ending, measure, measureOpening, tell } from './ending.ts'
import { goneElsewhere, windowOver } from './errors.ts'
import type { LinkContext, OpenContext } from './hooks.ts'
import { type StreamReport, streamState } from './reports.ts'
import type { PassageSession } from './sessions.ts'
import type { PassageShared } from './shared.ts'

/** `asking`: not admitted yet. `admitted`: the way to the machine is being made. The rest is as `tunnel_streams` has it. */
export type PassageStage = 'asking' | 'admitted' | 'open' | 'suspended' | 'over'

/** Between whom a stream is. */
export interface StreamParties {
  readonly id: string
  /** Whose token it stands on now. */
  readonly user: User
  readonly machine: string
  /** The machine's owner, once it is known. */
  readonly owner: string | undefined
}

/**
 * The life of one stream at this proxy, whatever carries it and over however many links. Nothing else counts, times,
 * audits or logs a stream, or runs its hooks.
 */
export class Passage implements StreamParties {
  readonly context: OpenContext
  readonly shared: PassageShared
  readonly session: PassageSession
  readonly #onLeft: (error?: TunnelError) => void
  readonly #beganMs: number
  readonly #trace: StreamTrace | undefined
  #stage: PassageStage = 'asking'
  #admitted = false
  #target: Target | undefined
  #mayOpenAgain = false
  #opened = false
  #opening: Promise<void> | undefined
  #answered = false
  #wasCarried = false
  /** The highest attempt at the stream that was seen here. */
  #attempt: number
  #wasElsewhere = false
  #window: unknown
  #suspendedAtMs = 0
  #bytesIn = 0
  #bytesOut = 0
  /** The newest of those that ask for the stream: the failure of an older one is not the stream's. */
  newest: unknown
  /** The link of whoever asked last, whose user AUTH renews. */
  #opener: LinkContext | undefined

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
    this.context = context
    this.shared = shared
    this.session = session
    this.#onLeft = onLeft
    this.#beganMs = shared.clock.now()
    this.#attempt = context.head.attempt ?? 0
    this.#trace = shared.services.tracing.stream(context)
    this.#tellTrace()
  }

  get id(): string {
    return this.context.head.id
  }
  /** Of the trace that it belongs to, where somebody keeps it. */
  get keptTraceId(): string | undefined {
    const trace = this.#trace
    if (trace !== undefined) return trace.isSampled ? trace.traceId : undefined
    const parent = readTraceparent(this.context.head.traceparent)
    return parent?.isSampled ? parent.traceId : undefined
  }

  /** For whoever does a part of the stream's work. */
  get traceparent(): string | undefined {
    return this.#trace?.traceparent ?? this.context.head.traceparent
  }

  /** The trace is named by every line of the stream's log; a service is told it as part of a request. */
  #tellTrace(): void {
    const { context } = this
    const { head } = context
    const traceId = this.#trace?.traceId ?? readTraceparent(head.traceparent)?.traceId
    if (traceId !== undefined) context.log = context.log.child({ traceId })
    if (this.#trace !== undefined && head.kind === 'http')
      context.headers = { traceparent: this.#trace.traceparent }
  }

  /** What `work` begins is told as the stream's. */
  within<T>(work: () => T): T {
    return this.#trace === undefined ? work() : this.#trace.within(work)
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

  /** Whoever has this link asks for the stream, and is who it is judged by. */
  askedBy(opener: LinkContext): void {
    this.#opener = opener
    this.context.user = opener.user
    if (opener.via === undefined) delete this.context.via
    else this.context.via = opener.via
  }

  get owner(): string | undefined {
    return this.context.owner
  }
  get machine(): string {
    return this.context.machine
  }
  get user(): User {
    return this.#opener?.user ?? this.context.user
  }

  /** What may be told of it. */
  describe(): StreamReport {
    const { user, machine, head, mode, target, connectionId, correlationId } = this.context
    const ageMs = this.#sinceBeginMs()
    return {
      ...{ id: this.id, user: user.sub, machine, kind: head.kind, mode, priority: head.priority ?? 'normal' },
      ...{ state: streamState(this.#stage), since: new Date(Date.now() - ageMs).toISOString() },
      ...{ bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, connectionId, correlationId },
      ...(this.owner !== undefined && { owner: this.owner }),
      ...(target !== undefined && { target }),
    }
  }

  /** Whether `head` asks for this stream: what was authorised under its id counts for nothing else. */
  isFor(head: RoutedHead): boolean {
    const { kind, machine, target } = this.context.head
    return head.kind === kind && head.machine === machine && head.target === target
  }

  /** Its opener has asked for it where we did not see that, and it has not come back since: it may have ended there. */
  get wasElsewhere(): boolean {
    return this.#wasElsewhere
  }

  /** Where it goes on the machine's side, once it has been admitted; undefined where its opener named no target. */
  get target(): Target | undefined {
    return this.#target
  }

  /** As `askToOpen`. @throws {TunnelError} what refuses it; `over` with the same error is still owed */
  async admit(): Promise<Route> {
    const { route, target } = await this.#admission(() => askToOpen(this.context, this.shared))
    this.#target = target
    if (target !== undefined) this.context.target = target.authority
    this.#leadsTo(route)
    this.#mayOpenAgain = true
    this.#nowAdmitted()
    return route
  }

  /** As `askToGoOn`. */
  async readmit(named: string | undefined): Promise<Route | undefined> {
    const ask = () => askToGoOn(this.context, this.shared, named, this.owner)
    const route = await this.#admission(ask)
    if (route !== undefined) this.#leadsTo(route)
    this.#nowAdmitted()
    return route
  }

  /** Another replica has admitted it, and hands it over. */
  handedOver(opener: LinkContext, place: Pick<Route, 'owner' | 'name'>): void {
    this.askedBy(opener)
    this.#leadsTo(place)
    this.#nowAdmitted()
  }

  #admission<T>(ask: () => Promise<T>): Promise<T> {
    return this.#trace === undefined ? ask() : this.#trace.during('admission', ask)
  }

  /** From now on the machine goes by its own name, whatever its user calls it. */
  #leadsTo({ owner, name }: Pick<Route, 'owner' | 'name'>): void {
    this.context.owner = owner
    this.context.machine = name
  }

  #nowAdmitted(): void {
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
    if (this.#stage === 'suspended') this.#tellReturn()
    this.#stage = 'open'
    this.#wasCarried = true
    this.#wasElsewhere = false
    this.shared.clock.clearTimer(this.#window)
    if (!isFirst) return
    measureOpening(this, undefined, this.#sinceBeginMs())
    const { machine, head, log } = this.context
    if (head.kind !== 'http') this.#trace?.answered(this.#sinceBeginMs())
    log[head.kind === 'http' ? 'debug' : 'info']({ context: { machine, kind: head.kind } }, 'stream open')
  }

  /** Payload: `in` is towards the machine. */
  carried(direction: 'in' | 'out', byteCount: number): void {
    if (this.context.via === undefined) this.shared.bytes[this.context.mode][direction] += byteCount
    this.session.pace?.spend(byteCount)
    if (direction === 'in') this.#bytesIn += byteCount
    else this.#bytesOut += byteCount
  }

  /** The head of a response is there: for a request this, and not its end, is the latency. */
  answered(): void {
    this.#answered = true
    const latencyMs = this.#sinceBeginMs()
    const { machine, head, log } = this.context
    const { requestLatencyMs } = this.shared.services.tunnelMetrics
    requestLatencyMs.observe({ kind: head.kind }, latencyMs, this.keptTraceId)
    this.#trace?.answered(latencyMs)
    if (latencyMs <= this.shared.slowMs) return
    log.warn({ context: { latencyMs: Math.round(latencyMs), machine } }, 'slow request')
  }

  /** The stream has no path now. One that nobody asks for within `windowMs`, where that is given, is over. */
  suspended(windowMs?: number): void {
    if (this.#stage === 'over') return
    const { clock } = this.shared
    if (this.#stage !== 'suspended') {
      this.#suspendedAtMs = clock.now()
      this.#trace?.suspended()
    }
    this.#stage = 'suspended'
    clock.clearTimer(this.#window)
    if (windowMs === undefined) return
    const give = (): void => (this.context.via === undefined ? this.over(windowOver(windowMs)) : this.moved())
    this.#window = clock.setTimer(give, windowMs)
  }

  /** Its opener asks for it: what comes of that says how the stream goes on. `attempt` counts what it has asked so far. */
  asked(attempt: number): void {
    this.shared.clock.clearTimer(this.#window)
    if (attempt > this.#attempt + 1) this.#wasElsewhere = true
    this.#attempt = Math.max(this.#attempt, attempt)
  }

  /** It has a path again. */
  resumed(): void {
    if (this.#stage !== 'suspended') return
    this.#tellReturn()
    this.#stage = this.#wasCarried ? 'open' : 'admitted'
  }

  #tellReturn(): void {
    this.#trace?.resumed(this.shared.clock.now() - this.#suspendedAtMs)
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
    this.#stage = 'over'
    this.shared.clock.clearTimer(this.#window)
    const ending = { error, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut }
    this.#trace?.ended(this.context, ending)
    return { ...ending, admitted: this.#admitted, durationMs: this.#sinceBeginMs() }
  }

  #sinceBeginMs(): number {
    return this.shared.clock.now() - this.#beganMs
  }
}
