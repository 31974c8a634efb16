import { Emitter } from '../dial/emitter.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { Priority } from '../protocol/codec/heads.ts'
import { PriorityLanes } from '../protocol/priority-lanes.ts'
import type { Deadline } from './deadline.ts'
import type { QueueOptions } from './options.ts'

export interface QueueState {
  waiting: number
  maxRequests: number
}

interface Waiter {
  resolve(release: () => void): void
  reject(error: TunnelError): void
}

/**
 * The place where requests wait while the link carries as many streams as the proxy allows: a counting semaphore that
 * holds no request itself. Bounded; whose turn is next is for the priority lanes to say.
 */
export class RequestQueue extends Emitter<{ backpressure: [QueueState]; drain: [QueueState] }> {
  readonly #options: QueueOptions
  readonly #waiting = new PriorityLanes<Waiter>()
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
  /** By priority. */
  get waiting(): Record<Priority, number> {
    return this.#waiting.sizes
  }
  get size(): number {
    return this.#waiting.size
  }

  /** How many may be under way at once. */
  setCapacity(capacity: number): void {
    this.#capacity = capacity
    this.#admit()
  }

  /**
   * Waits for a place; what it resolves to gives the place back, once however often it is called.
   * @throws {TunnelError} QUEUE_FULL, also for one whose time is over, or why its caller waits no more
   */
  acquire(priority: Priority = 'normal', deadline?: Deadline): Promise<() => void> {
    if (deadline?.reason !== undefined) return Promise.reject(deadline.reason)
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
      const waiter: Waiter = {
        resolve: (release) => {
          deadline?.offGivenUp(giveUp)
          resolve(release)
        },
        reject: (error) => {
          deadline?.offGivenUp(giveUp)
          reject(error)
        },
      }
      const giveUp = () => {
        this.#waiting.delete(waiter, priority)
        waiter.reject(this.#whyNoPlace(deadline?.reason as TunnelError))
        this.#press()
        this.#checkIdle()
      }
      this.#waiting.add(waiter, priority)
      deadline?.onGivenUp(giveUp)
      this.#press()
    })
  }

  /** One whose time is up has not been kept waiting by its target, which was never asked. */
  #whyNoPlace(reason: TunnelError): TunnelError {
    if (reason.code !== 'TIMEOUT' || this.#active < this.#capacity || this.#capacity === 0) return reason
    const text = `no place on the link became free in time: all ${this.#active} that the proxy allows are in use`
    return new TunnelError('QUEUE_FULL', text, { cause: reason, hop: 'client', retryAfterMs: 1_000 })
  }

  /** When nothing waits and nothing is under way. */
  idle(): Promise<void> {
    if (this.#active === 0 && this.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#onIdle.push(resolve))
  }

  /** Turns away everybody who waits. */
  clear(error: TunnelError): void {
    const waiters = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const waiter of waiters) waiter.reject(error)
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
      const waiter = this.#waiting.next()
      if (waiter === undefined) break
      waiter.resolve(this.#take())
    }
    this.#press()
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
