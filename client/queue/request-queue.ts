import { Emitter } from '../../dial/emitter.ts'
import { ChurningSet } from '../../protocol/churn.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { PRIORITIES, type Priority } from '../../protocol/codec/heads.ts'
import { PriorityLanes } from '../../protocol/priority-lanes.ts'
import type { Deadline } from '../deadline.ts'
import type { QueueOptions } from '../options.ts'
import { LinkPlaces } from './link-places.ts'

export interface QueueState {
  waiting: number
  waitingBytes: number
  maxRequests: number
  maxBytes: number
}

/** What stands in the queue. */
export interface Queued {
  readonly priority: Priority
  /** What of it is held in memory while it waits: its body. */
  readonly bytes: number
  /** Ends its wait, and is ended by the queue when it is shed. */
  readonly deadline: Deadline
}

/** Waits for a place. */
interface Turn {
  readonly queued: Queued
  readonly resolve: (release: () => void) => void
  /** What its deadline calls. */
  readonly giveUp: () => void
}

/** When to come back to a queue that is full, in ms. */
const RETRY_AFTER_MS = 1_000

/**
 * Everything that waits for a place on the link: requests, and whoever opens a stream. Served by weight between
 * priorities and first in first out inside one; bounded by count and by bytes.
 */
export class RequestQueue extends Emitter<{ backpressure: [QueueState]; drain: [QueueState] }> {
  readonly #options: QueueOptions
  readonly #places = new LinkPlaces(() => this.#serve())
  /** What is counted: it has entered and has no place yet. */
  readonly #entered: Readonly<Record<Priority, ChurningSet<Queued>>> = {
    high: new ChurningSet(),
    normal: new ChurningSet(),
    low: new ChurningSet(),
  }
  readonly #bytes: Record<Priority, number> = { high: 0, normal: 0, low: 0 }
  /** Those of them whose turn may come: the others are being written to disk. */
  readonly #lanes = new PriorityLanes<Turn>()
  #pressed = false
  #closedWith: TunnelError | undefined
  #onIdle: (() => void)[] = []

  constructor(options: QueueOptions) {
    super()
    this.#options = options
  }

  /** Places on the link that are in use. */
  get active(): number {
    return this.#places.taken
  }
  get capacity(): number {
    return this.#places.capacity
  }
  get size(): number {
    return this.#entered.high.size + this.#entered.normal.size + this.#entered.low.size
  }
  get sizes(): Record<Priority, number> {
    const { high, normal, low } = this.#entered
    return { high: high.size, normal: normal.size, low: low.size }
  }
  get bytes(): number {
    return this.#bytes.high + this.#bytes.normal + this.#bytes.low
  }

  /** How many may be under way at once; 0 while there is no link. */
  setCapacity(capacity: number): void {
    this.#places.setCapacity(capacity)
  }

  /**
   * It counts from now on, until it has a place (`turn`) or leaves.
   * @param isAccepted it was accepted before, and is not refused now
   * @throws {TunnelError} QUEUE_FULL, or why its caller has given up
   */
  enter(queued: Queued, isAccepted = false): void {
    if (queued.deadline.reason !== undefined) throw queued.deadline.reason
    const goesAtOnce = this.size === 0 && this.active < this.capacity
    if (!isAccepted && !goesAtOnce && !this.#fits(queued)) this.#makeRoom(queued)
    this.#entered[queued.priority].add(queued)
    this.#bytes[queued.priority] += queued.bytes
    this.#press()
    if (this.#closedWith !== undefined) queued.deadline.giveUp(this.#closedWith)
  }

  /** It waits no more. */
  leave(queued: Queued): void {
    if (!this.#entered[queued.priority].delete(queued)) return
    this.#bytes[queued.priority] -= queued.bytes
    this.#press()
    this.#checkIdle()
  }

  /**
   * Waits for a place; what it resolves to gives the place back.
   * @throws {TunnelError} why its caller has given up, QUEUE_FULL where all places were taken for all of its time, or
   * what the queue was cleared with
   */
  turn(queued: Queued): Promise<() => void> {
    const { deadline, priority } = queued
    if (deadline.reason !== undefined) {
      this.leave(queued)
      return Promise.reject(deadline.reason)
    }
    const release = this.#lanes.size === 0 ? this.#places.take() : undefined
    if (release !== undefined) {
      this.leave(queued)
      return Promise.resolve(release)
    }
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        this.#lanes.delete(turn, priority)
        this.leave(queued)
        reject(this.#whyNoPlace(deadline.reason as TunnelError))
      }
      const turn: Turn = { queued, resolve, giveUp }
      this.#lanes.add(turn, priority)
      deadline.onGivenUp(giveUp)
    })
  }

  /** When nothing waits and nothing is under way. */
  idle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve()
    return new Promise((resolve) => this.#onIdle.push(resolve))
  }

  /** Ends the wait of everybody with `error`, also of whoever enters before `open`: some may be on their way here. */
  close(error: TunnelError): void {
    this.#closedWith = error
    for (const priority of PRIORITIES)
      for (const queued of [...this.#entered[priority]]) queued.deadline.giveUp(error)
  }

  open(): void {
    this.#closedWith = undefined
  }

  get #isIdle(): boolean {
    return this.active === 0 && this.size === 0
  }

  #serve(): void {
    while (this.#lanes.size > 0) {
      const release = this.#places.take()
      if (release === undefined) break
      const turn = this.#lanes.next() as Turn
      turn.queued.deadline.offGivenUp(turn.giveUp)
      this.leave(turn.queued)
      turn.resolve(release)
    }
    this.#checkIdle()
  }

  #checkIdle(): void {
    if (this.#isIdle) for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  #fits({ bytes }: Queued): boolean {
    return this.size < this.#options.maxRequests && this.bytes + bytes <= this.#options.maxBytes
  }

  /** By turning away what is of less importance, where that is configured and enough. @throws {TunnelError} QUEUE_FULL */
  #makeRoom(queued: Queued): void {
    const { maxRequests, maxBytes, whenFull } = this.#options
    const lower = PRIORITIES.slice(PRIORITIES.indexOf(queued.priority) + 1).reverse()
    const bytesThere = lower.reduce((sum, priority) => sum + this.#bytes[priority], 0)
    const sizeThere = lower.reduce((sum, priority) => sum + this.#entered[priority].size, 0)
    const isEnough = this.size - sizeThere < maxRequests && this.bytes - bytesThere + queued.bytes <= maxBytes
    if (whenFull !== 'shed' || !isEnough) {
      const text = `the queue is full: ${this.size} of ${maxRequests} requests, ${this.bytes} of ${maxBytes} bytes`
      throw queueFull(queued.bytes > maxBytes ? `${text}; this one has ${queued.bytes} bytes` : text)
    }
    // The oldest first: of all that wait it is the nearest to having waited in vain.
    for (const priority of lower) {
      for (const other of this.#entered[priority]) {
        if (this.#fits(queued)) return
        other.deadline.giveUp(queueFull(`turned away for a request of priority ${queued.priority}`))
        this.leave(other)
      }
    }
  }

  /** One whose time is up has not been kept waiting by its target, which was never asked. */
  #whyNoPlace(reason: TunnelError): TunnelError {
    const { active, capacity } = this
    if (reason.code !== 'TIMEOUT' || active < capacity || capacity === 0) return reason
    return queueFull(
      `no place on the link became free in time: all ${active} that the proxy allows are in use`,
      reason,
    )
  }

  /** Tells once that the queue fills, and once that it has emptied again. */
  #press(): void {
    const { maxRequests, maxBytes, backpressureAt, drainAt } = this.#options
    const { size, bytes } = this
    const isAt = (share: number) => size >= Math.max(1, share * maxRequests) || bytes >= share * maxBytes
    const state = { waiting: size, waitingBytes: bytes, maxRequests, maxBytes }
    if (!this.#pressed && size > 0 && isAt(backpressureAt)) {
      this.#pressed = true
      this.emit('backpressure', state)
    } else if (this.#pressed && size <= drainAt * maxRequests && bytes <= drainAt * maxBytes) {
      this.#pressed = false
      this.emit('drain', state)
    }
  }
}

function queueFull(text: string, cause?: TunnelError): TunnelError {
  return new TunnelError('QUEUE_FULL', text, { cause, hop: 'client', retryAfterMs: RETRY_AFTER_MS })
}
