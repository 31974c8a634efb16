import type { Clock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import { isSealed, type RoutedHead, type StreamKind } from '../../protocol/codec/heads.ts'
import type { AuditEvent } from '../audit/index.ts'
import type { User } from '../auth/index.ts'
import type { Route } from '../machines/index.ts'
import type { TunnelMetrics } from '../metrics/index.ts'
import { goneElsewhere, targetOf, windowOver } from './errors.ts'
import type { LinkContext, OpenContext, TunnelHooks } from './hooks.ts'

/** What a stream's way is built on; read at each use, so that a custom plugin may replace any of it. */
export interface PassageServices {
  /** Throws TOKEN_EXPIRED or TOKEN_REVOKED for a user who may not go on. */
  readonly auth: { check(user: User): void }
  readonly policy: {
    check(
      request: Pick<OpenContext, 'user' | 'machine' | 'mode' | 'target'> & {
        owner: string
        kind: StreamKind
      },
    ): Promise<void>
  }
  readonly rateLimits: { takeStream(user: User): Promise<void> }
  readonly machines: { resolve(user: string, machine: string): Promise<Route> }
  readonly audit: { record(event: AuditEvent): void }
  readonly tunnelMetrics: Pick<TunnelMetrics, 'requests' | 'requestLatencyMs' | 'countError' | 'bytes'>
}

/** Everything that all passages share. */
export interface PassageShared {
  readonly services: PassageServices
  readonly hooks: TunnelHooks
  readonly clock: Clock
  /** An answer that took longer than this is logged, in ms. */
  readonly slowMs: number
  /** Payload since it was last counted: no metric is counted for each frame. */
  readonly bytes: Record<OpenContext['mode'], { in: number; out: number }>
}

/** `asking`: not admitted yet. `admitted`: the way to the machine is being made. The rest is as `tunnel_streams` has it. */
export type PassageStage = 'asking' | 'admitted' | 'open' | 'suspended' | 'over'

/** Between whom a stream is. */
export interface StreamParties {
  /** Whose token it stands on now. */
  readonly user: User
  readonly machine: string
  /** The machine's owner, once it is known. */
  readonly owner: string | undefined
}

/** Ends that are nobody's fault: a user gave the stream up, or it goes on elsewhere. */
const NO_ERRORS: ReadonlySet<string> = new Set(['ABORTED', 'TAKEN_OVER'])

/**
 * The life of one stream at this proxy, whatever carries it and over however many links. Nothing else counts, times,
 * audits or logs a stream, or runs its hooks.
 */
export class Passage implements StreamParties {
  readonly context: OpenContext
  readonly #shared: PassageShared
  readonly #onLeft: (error?: TunnelError) => void
  readonly #beganMs: number
  #stage: PassageStage = 'asking'
  #admitted = false
  #mayOpenAgain = false
  #opened = false
  #opening: Promise<void> | undefined
  #answered = false
  #wasCarried = false
  /** The highest attempt at the stream that was seen here. */
  #attempt: number
  #wasElsewhere = false
  #window: unknown
  #bytesIn = 0
  #bytesOut = 0
  /** The newest of those that ask for the stream: the failure of an older one is not the stream's. */
  newest: unknown
  /** The link of whoever asked last, whose user AUTH renews. */
  #opener: LinkContext | undefined
  #owner: string | undefined

  /**
   * `onLeft` is called once, when the stream is over or has gone to another proxy. With an error, whatever still carries
   * the stream must end with it: it would go on, and nothing would be said of it.
   */
  constructor(context: OpenContext, shared: PassageShared, onLeft: (error?: TunnelError) => void) {
    this.context = context
    this.#shared = shared
    this.#onLeft = onLeft
    this.#beganMs = shared.clock.now()
    this.#attempt = context.head.attempt ?? 0
  }

  get id(): string {
    return this.context.head.id
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
  }

  get owner(): string | undefined {
    return this.#owner
  }
  get machine(): string {
    return this.context.machine
  }
  get user(): User {
    return this.#opener?.user ?? this.context.user
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

  /**
   * Whether the stream may be opened: hooks `preOpen`, the token, the user's bucket, the machine, policy.
   * @throws {TunnelError} what refuses it; `over` with the same error is still owed
   */
  async admit(): Promise<Route> {
    const { context } = this
    const { services, hooks } = this.#shared
    await hooks.run('preOpen', context)
    services.auth.check(context.user)
    // First: guessing at the names of machines uses up the same tokens.
    await services.rateLimits.takeStream(context.user)
    const route = await services.machines.resolve(context.user.sub, context.machine)
    const target = await this.#checkPolicy(route.owner, context.target ?? context.head.target)
    if (target !== undefined) context.target = target
    this.#owner = route.owner
    this.#mayOpenAgain = true
    this.#nowAdmitted()
    return route
  }

  /**
   * Whether the stream may go on after its opener's link was lost: what an open is asked, but for the hooks and for
   * what an open uses up. Undefined where no such machine is known here, which its agent's next link may change.
   * @throws {TunnelError} TOKEN_EXPIRED, POLICY_DENIED
   */
  async readmit(named: string | undefined): Promise<Route | undefined> {
    const { user, machine } = this.context
    this.#shared.services.auth.check(user)
    const route = await this.#shared.services.machines.resolve(user.sub, machine).catch(unlessUnknown)
    this.#owner = route?.owner ?? this.#owner
    await this.#checkPolicy(route?.owner ?? user.sub, named)
    this.#nowAdmitted()
    return route
  }

  /** Answers with the target as it is dialled, which is what policy is asked about: no other spelling avoids a rule. */
  async #checkPolicy(owner: string, named: string | undefined): Promise<string | undefined> {
    const { user, machine, mode, head } = this.context
    const target = named === undefined ? undefined : targetOf(named).authority
    await this.#shared.services.policy.check({
      ...{ user, machine, owner, mode, kind: head.kind },
      ...(target === undefined ? {} : { target }),
    })
    return target
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
    const { hooks } = this.#shared
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
    this.#stage = 'open'
    this.#wasCarried = true
    this.#wasElsewhere = false
    this.#shared.clock.clearTimer(this.#window)
    if (!isFirst) return
    const { machine, head, log } = this.context
    log[head.kind === 'http' ? 'debug' : 'info']({ context: { machine, kind: head.kind } }, 'stream open')
  }

  /** Payload: `in` is towards the machine. */
  carried(direction: 'in' | 'out', byteCount: number): void {
    this.#shared.bytes[this.context.mode][direction] += byteCount
    if (direction === 'in') this.#bytesIn += byteCount
    else this.#bytesOut += byteCount
  }

  /** The head of a response is there: for a request this, and not its end, is the latency. */
  answered(): void {
    this.#answered = true
    const latencyMs = this.#sinceBeginMs()
    const { machine, head, log } = this.context
    this.#shared.services.tunnelMetrics.requestLatencyMs.observe({ kind: head.kind }, latencyMs)
    if (latencyMs <= this.#shared.slowMs) return
    log.warn({ context: { latencyMs: Math.round(latencyMs), machine } }, 'slow request')
  }

  /** The stream has no path now. One that nobody asks for within `windowMs`, where that is given, is over. */
  suspended(windowMs?: number): void {
    if (this.#stage === 'over') return
    const { clock } = this.#shared
    this.#stage = 'suspended'
    clock.clearTimer(this.#window)
    if (windowMs !== undefined) this.#window = clock.setTimer(() => this.over(windowOver(windowMs)), windowMs)
  }

  /** Its opener asks for it: what comes of that says how the stream goes on. `attempt` counts what it has asked so far. */
  asked(attempt: number): void {
    this.#shared.clock.clearTimer(this.#window)
    if (attempt > this.#attempt + 1) this.#wasElsewhere = true
    this.#attempt = Math.max(this.#attempt, attempt)
  }

  /** It has a path again. */
  resumed(): void {
    if (this.#stage === 'suspended') this.#stage = this.#wasCarried ? 'open' : 'admitted'
  }

  /** Once: the stream has ended, by `error` or in order. Later calls do nothing. */
  over(error?: TunnelError): void {
    if (this.#stage === 'over') return
    this.#contained(() => this.#measure(error))
    this.#end(error, this.#admitted ? 'stream.closed' : 'stream.refused')
    this.#onLeft(error)
  }

  #measure(error: TunnelError | undefined): void {
    const { kind } = this.context.head
    const { tunnelMetrics } = this.#shared.services
    tunnelMetrics.requests.inc({ kind, outcome: error?.code ?? 'ok' })
    if (error === undefined && !this.#answered && !this.context.moved) {
      tunnelMetrics.requestLatencyMs.observe({ kind }, this.#sinceBeginMs())
    }
    if (error !== undefined && !NO_ERRORS.has(error.code)) tunnelMetrics.countError(error)
  }

  /** A plugin's own metrics or audit sink that throws must not keep the stream from ending. */
  #contained(record: () => void): void {
    try {
      record()
    } catch (thrown) {
      this.context.log.error({ err: thrown }, 'the end of a stream could not be recorded')
    }
  }

  /** A stream that came from another proxy is not there any more: nothing was here that could end. */
  forget(): void {
    if (this.#stage === 'over') return
    this.#stage = 'over'
    this.#shared.clock.clearTimer(this.#window)
    this.#onLeft()
  }

  /** Once: the stream goes on through another proxy, which counts it when it ends. Nobody here is done with it. */
  moved(): void {
    if (this.#stage === 'over') return
    this.#end(goneElsewhere(), 'stream.moved')
    this.#onLeft()
  }

  #end(error: TunnelError | undefined, event: string): void {
    this.#stage = 'over'
    this.#shared.clock.clearTimer(this.#window)
    const { user, machine, head, mode, target, correlationId, log } = this.context
    const durationMs = this.#sinceBeginMs()
    const outcome = error?.code ?? 'ok'
    const details = {
      streamId: head.id,
      kind: head.kind,
      mode,
      ...(target === undefined ? {} : { target }),
      outcome,
      durationMs: Math.round(durationMs),
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    }
    const { audit } = this.#shared.services
    this.#contained(() => audit.record({ event, userId: user.sub, machine, correlationId, details }))
    const told = { context: { machine, ...details } }
    if (error?.code === 'INTERNAL' && !error.fromPeer) log.error({ ...told, err: error }, 'a stream failed')
    else if (!this.#admitted) log.info(told, 'stream refused')
    else log[head.kind === 'http' ? 'debug' : 'info'](told, 'stream over')
    const { hooks } = this.#shared
    if (!this.#admitted || !hooks.has('onClose')) return
    void hooks.notify('onClose', { ...this.context, error, durationMs })
  }

  #sinceBeginMs(): number {
    return this.#shared.clock.now() - this.#beganMs
  }
}

function unlessUnknown(thrown: unknown): undefined {
  const error = asTunnelError(thrown, 'proxy')
  if (error.code !== 'MACHINE_UNKNOWN') throw error
}

/** What an opener's link says of a stream that asks to be opened, or to go on. */
export function openContext(
  {
    user,
    connectionId,
    correlationId,
    log,
  }: Pick<OpenContext, 'user' | 'connectionId' | 'correlationId' | 'log'>,
  head: RoutedHead,
  moved: boolean,
): OpenContext {
  return {
    user,
    head,
    machine: head.machine,
    mode: isSealed(head.kind) ? 'sealed' : 'inspected',
    connectionId,
    correlationId,
    log,
    moved,
    ...(head.target === undefined ? {} : { target: head.target }),
  }
}
