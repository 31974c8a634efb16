import type { TunnelError } from '../../../protocol/codec/errors.ts'
import { LINGER_MS } from '../../../protocol/node/join.ts'
import type { ChannelLease } from '../../pool/index.ts'
import { AwayPlace } from '../away.ts'
import { bodyTimeout, headTimeout, requestGone, responseIdle } from '../errors.ts'
import type { ServeContext } from '../serve.ts'
import { Deadline, type Party } from './deadline.ts'
import type { OutgoingRequest } from './outgoing-request.ts'

/** The exchange whose patience it is. */
interface Waiter {
  /** The service, as it is named in errors. */
  readonly authority: string
  readonly request: OutgoingRequest
  readonly lease: ChannelLease | undefined
  /**
   * What comes next of the response: its head, where the request is on its way, or more of its body, where that has begun
   * and the stream takes it.
   */
  readonly expects: 'head' | 'body' | undefined
  /** What its stream is told when its place goes to another. */
  readonly givenAway: TunnelError
  fail(error: TunnelError): void
}

/** Whom an exchange waits for, and how long. */
export class Patience {
  readonly #waiter: Waiter
  readonly #context: ServeContext
  readonly #deadline: Deadline
  readonly #away: AwayPlace
  #linger: unknown

  constructor(waiter: Waiter, context: ServeContext) {
    this.#waiter = waiter
    this.#context = context
    const { clock, timeoutMs, bodyMs, idleMs } = context
    const limits = { service: timeoutMs, caller: bodyMs, answer: idleMs }
    this.#deadline = new Deadline(clock, limits, (party) => this.#late(party))
    this.#away = new AwayPlace(
      clock,
      () => waiter.lease,
      () => waiter.fail(waiter.givenAway),
    )
  }

  /** The caller's link is gone. */
  get isAway(): boolean {
    return this.#away.isAway
  }

  /** Something has moved: whoever has to move next has all its time for that. */
  moved(): void {
    const party = this.#awaited()
    if (party === undefined) this.#deadline.stop()
    else this.#deadline.await(party)
  }

  suspended(): void {
    this.#away.suspended()
    if (this.#awaited() === undefined) this.#deadline.stop()
  }

  resumed(): void {
    this.#away.resumed()
    if (this.#awaited() === 'caller') this.moved()
  }

  /** All has been answered; what still comes of the request is waited for, so that the caller reads the answer. */
  linger(): void {
    const giveUp = (): void => this.#waiter.fail(requestGone())
    this.#linger = this.#context.clock.setTimer(giveUp, LINGER_MS)
  }

  /** The request has come to its end. */
  stopLingering(): void {
    this.#context.clock.clearTimer(this.#linger)
  }

  /** The exchange is over. */
  stop(): void {
    this.#deadline.stop()
    this.#away.stop()
    this.stopLingering()
  }

  #awaited(): Party | undefined {
    const { expects, request } = this.#waiter
    if (expects === undefined) return undefined
    if (expects === 'body') return request.isUpgrade ? undefined : 'answer'
    const { awaits } = request
    // How long a caller without a link is waited for, its stream's window says.
    return awaits === 'caller' && this.isAway ? undefined : awaits
  }

  #late(party: Party): void {
    const { timeoutMs, bodyMs, idleMs } = this.#context
    if (party === 'caller') return this.#waiter.fail(bodyTimeout(bodyMs))
    // A slow service, or a machine that has gone without a word.
    this.#waiter.lease?.connection.probe()
    const { authority } = this.#waiter
    this.#waiter.fail(
      party === 'answer' ? responseIdle(authority, idleMs) : headTimeout(authority, timeoutMs),
    )
  }
}
