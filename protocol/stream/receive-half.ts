import { TunnelError } from '../codec/errors.ts'
import type { Budget } from './budget.ts'

export interface ReceiveLimits {
  windowBytes: number
  maxWindowBytes: number
  /** What the stream's head holds beside the window. */
  headBytes?: number
  budget?: Budget | undefined
}

/**
 * One direction of a stream, at its receiver. `received` moves when a frame is here, `limit` when its consumer has
 * taken it: acknowledgement and credit are two numbers, so that a slow consumer is never taken for a lost one.
 */
export class ReceiveHalf {
  #received = 0
  #consumed = 0
  #limit: number
  #window: number
  #toldReceived = 0
  #toldLimit: number
  #ended = false
  readonly #limits: ReceiveLimits
  readonly #reserved: number
  #borrowed = 0

  /** @throws {TunnelError} TOO_MANY_STREAMS when the budget has no room for the first window. */
  constructor(limits: ReceiveLimits) {
    this.#limits = limits
    this.#window = limits.windowBytes
    this.#limit = limits.windowBytes
    this.#toldLimit = limits.windowBytes
    this.#reserved = limits.windowBytes + (limits.headBytes ?? 0)
    if (limits.budget?.take(this.#reserved) === false) {
      throw new TunnelError('TOO_MANY_STREAMS', "the user's streams hold all the memory that they may", {
        hop: 'link',
      })
    }
  }

  get received(): number {
    return this.#received
  }
  get limit(): number {
    return this.#limit
  }
  get windowBytes(): number {
    return this.#window
  }
  get ended(): boolean {
    return this.#ended
  }
  /** Received here and not yet taken by the consumer, with the frames' headers. */
  get backlogBytes(): number {
    return this.#received - this.#consumed
  }
  /** The peer knows of everything received. */
  get told(): boolean {
    return this.#toldReceived === this.#received
  }

  /**
   * Counts a frame. `heldBytes` of it wait for the consumer, the rest is taken at once.
   * @throws {TunnelError} FRAME_INVALID when it goes beyond the limit, or follows an END.
   */
  frame(frameBytes: number, heldBytes: number, ends: boolean): void {
    if (this.#ended)
      throw new TunnelError('FRAME_INVALID', 'a frame follows the END of its direction', { hop: 'link' })
    if (this.#received + frameBytes > this.#limit) {
      const over = this.#received + frameBytes - this.#limit
      throw new TunnelError('FRAME_INVALID', `a frame goes ${over} bytes beyond the window`, { hop: 'link' })
    }
    this.#received += frameBytes
    this.#consumed += frameBytes - heldBytes
    this.#ended = ends
  }

  /** END rode on OPEN, which is not counted. */
  endedOnOpen(): void {
    this.#ended = true
  }

  consume(bytes: number): void {
    this.#consumed = Math.min(this.#received, this.#consumed + bytes)
  }

  /** The sender was held up by the window: doubles it, if the consumer keeps up and there is room. */
  blocked(): void {
    if (this.backlogBytes > this.#window / 2) return
    const more = Math.min(this.#window, this.#limits.maxWindowBytes - this.#window)
    if (more <= 0 || this.#limits.budget?.grow(more) === false) return
    this.#borrowed += more
    this.#window += more
  }

  /** Whether the peer needs an acknowledgement now, rather than with a later frame. */
  get due(): boolean {
    const quarter = this.#window >> 2
    return (
      this.#consumed + this.#window - this.#toldLimit >= quarter ||
      this.#received - this.#toldReceived >= quarter ||
      (this.#ended && !this.told)
    )
  }

  /** What to send to the peer; counts as sent from now on. */
  tell(): { received: number; limit: number } {
    this.#limit = Math.max(this.#limit, this.#consumed + this.#window)
    this.#toldReceived = this.#received
    this.#toldLimit = this.#limit
    return { received: this.#received, limit: this.#limit }
  }

  release(): void {
    this.#limits.budget?.give(this.#reserved)
    this.#limits.budget?.shrink(this.#borrowed)
    this.#borrowed = 0
  }
}
