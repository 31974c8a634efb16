import { Emitter } from '../dial/emitter.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import { PRIORITIES, type Priority } from '../protocol/codec/heads.ts'
import type { Deadline } from './deadline.ts'
import type { QueueOptions } from './options.ts'

/** How many of each priority go in one round while all wait, so that none starves. */
const WEIGHTS: Readonly<Record<Priority, number>> = { high: 8, normal: 4, low: 1 }

export interface QueueState {
  waiting: number
  maxRequests: number
}

interface Waiter {
  resolve(release: () => void): void
  reject(error: TunnelError): void
}

/**
 * The place where requests wait while the link carries as many streams as the proxy allows. Bounded; first in first
 * out within a priority.
 */
export class RequestQueue extends Emitter<{ backpressure: [QueueState]; drain: [QueueState] }> {
  readonly #options: QueueOptions
  readonly #waiting: Readonly<Record<Priority, Set<Waiter>>> = {
    high: new Set(),
    normal: new Set(),
    low: new Set(),
  }
  #turns: Record<Priority, number> = { ...WEIGHTS }
  #capacity = 0
  #active = 0
  #pressed = false
  #onIdle: (() => void)[] = []

  constructor(options: QueueOptions) {
    super()
    this.#options = options
  }

  get active(): number {
    return this.#active
  }
  get capacity(): number {
    return this.#capacity
  }
  get size(): number {
    return PRIORITIES.reduce((sum, priority) => sum + this.#waiting[priority].size, 0)
  }
  get sizes(): Record<Priority, number> {
    const { high, normal, low } = this.#waiting
    return { high: high.size, normal: normal.size, low: low.size }
  }

  /** How many may be under way at once. */
  setCapacity(capacity: number): void {
    this.#capacity = capacity
    this.#admit()
  }

  /**
   * Waits for a place; what it resolves to gives the place back, once however often it is called.
   * @throws {TunnelError} QUEUE_FULL, or why its caller waits no more
   */
  acquire(priority: Priority = 'normal', patience?: Deadline): Promise<() => void> {
    if (patience?.reason !== undefined) return Promise.reject(patience.reason)
    if (this.#active < this.#capacity && this.size === 0) return Promise.resolve(this.#take())
    const { maxRequests } = this.#options
    if (this.size >= maxRequests) {
      return Promise.reject(
        new TunnelError('QUEUE_FULL', `${maxRequests} requests are waiting already`, {
          hop: 'client',
          retryAfterMs: 1_000,
        }),
      )
    }
    return new Promise((resolve, reject) => {
      const queue = this.#waiting[priority]
      const waiter: Waiter = {
        resolve: (release) => {
          patience?.offGivenUp(giveUp)
          resolve(release)
        },
        reject: (error) => {
          patience?.offGivenUp(giveUp)
          reject(error)
        },
      }
      const giveUp = () => {
        queue.delete(waiter)
        waiter.reject(patience?.reason as TunnelError)
        this.#press()
        this.#checkIdle()
      }
      queue.add(waiter)
      patience?.onGivenUp(giveUp)
      this.#press()
    })
  }

  /** When nothing waits and nothing is under way. */
  idle(): Promise<void> {
    if (this.#active === 0 && this.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#onIdle.push(resolve))
  }

  /** Turns away everybody who waits. */
  clear(error: TunnelError): void {
    for (const priority of PRIORITIES) {
      const waiters = [...this.#waiting[priority]]
      this.#waiting[priority].clear()
      for (const waiter of waiters) waiter.reject(error)
    }
    this.#press()
    this.#checkIdle()
  }

  #take(): () => void {
    this.#active++
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#active--
      this.#admit()
      this.#checkIdle()
    }
  }

  #checkIdle(): void {
    if (this.#active === 0 && this.size === 0) for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  #admit(): void {
    while (this.#active < this.#capacity) {
      const waiter = this.#next()
      if (waiter === undefined) break
      waiter.resolve(this.#take())
    }
    this.#press()
  }

  #next(): Waiter | undefined {
    for (let round = 0; round < 2; round++) {
      for (const priority of PRIORITIES) {
        if (this.#turns[priority] === 0) continue
        const [waiter] = this.#waiting[priority]
        if (waiter === undefined) continue
        this.#turns[priority]--
        this.#waiting[priority].delete(waiter)
        return waiter
      }
      this.#turns = { ...WEIGHTS }
    }
    return undefined
  }

  /** Tells once that the queue fills, and once that it has half emptied. */
  #press(): void {
    const { maxRequests, backpressureAt } = this.#options
    const waiting = this.size
    const mark = Math.max(1, backpressureAt * maxRequests)
    if (!this.#pressed && waiting >= mark) {
      this.#pressed = true
      this.emit('backpressure', { waiting, maxRequests })
    } else if (this.#pressed && waiting <= mark / 2) {
      this.#pressed = false
      this.emit('drain', { waiting, maxRequests })
    }
  }
}
