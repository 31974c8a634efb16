import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { Route } from '../machines/index.ts'
import { poolClosed, poolExhausted, tooManyWaiting, waitAborted } from './errors.ts'
import type { PoolOptions } from './options.ts'
import { type ChannelLease, Place, type PooledConnection } from './place.ts'

export type Connect<Connection> = (route: Route, signal: AbortSignal) => Promise<Connection>

interface Waiter<Connection extends PooledConnection> {
  route: Route
  machineKey: string
  /** Its time is up, and it waits only for the outcome of a connection that is being made. */
  overdue: boolean
  resolve(lease: ChannelLease<Connection>): void
  reject(error: TunnelError): void
}

/**
 * The connections of one user and who waits for them. Waiters are served in the order of their coming, except that
 * one whose machine has a free channel does not wait behind one whose machine has no place.
 */
export class UserPool<Connection extends PooledConnection> {
  readonly #options: PoolOptions
  readonly #connect: Connect<Connection>
  readonly #onEmpty: () => void
  /** In the order of last use. */
  readonly #places = new Set<Place<Connection>>()
  readonly #waiters = new Set<Waiter<Connection>>()
  #closed = false
  #serving = false
  #serveAgain = false

  constructor(options: PoolOptions, connect: Connect<Connection>, onEmpty: () => void) {
    this.#options = options
    this.#connect = connect
    this.#onEmpty = onEmpty
  }

  get waiting(): number {
    return this.#waiters.size
  }

  states(): { connecting: number; idle: number; busy: number } {
    const count = { connecting: 0, idle: 0, busy: 0 }
    for (const place of this.#places) {
      count[place.connection === undefined ? 'connecting' : place.idle ? 'idle' : 'busy']++
    }
    return count
  }

  acquire(route: Route, signal?: AbortSignal): Promise<ChannelLease<Connection>> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(poolClosed())
      if (signal?.aborted === true) return reject(waitAborted(route.name))
      if (this.#waiters.size >= this.#options.maxWaiting)
        return reject(tooManyWaiting(this.#options.maxWaiting))
      const settle = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        this.#waiters.delete(waiter)
      }
      const waiter: Waiter<Connection> = {
        route,
        machineKey: JSON.stringify([route.owner, route.name]),
        overdue: false,
        resolve: (lease) => {
          settle()
          resolve(lease)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      }
      const onAbort = (): void => {
        waiter.reject(waitAborted(route.name))
        this.#checkEmpty()
      }
      const timer = setTimeout(() => {
        waiter.overdue = true
        this.#rejectOverdue()
      }, this.#options.waitMs).unref()
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#waiters.add(waiter)
      this.#serve()
    })
  }

  close(): void {
    this.#closed = true
    for (const waiter of [...this.#waiters]) waiter.reject(poolClosed())
    for (const place of [...this.#places]) this.#remove(place)
    this.#checkEmpty()
  }

  #serve(): void {
    // What is done here closes connections and releases leases, and each of those asks to serve again.
    this.#serveAgain = true
    if (this.#serving) return
    this.#serving = true
    while (this.#serveAgain) {
      this.#serveAgain = false
      if (this.#serveAll()) this.#takeOffer()
    }
    this.#serving = false
  }

  /** Gives each waiter what there is; true where one is left without a promise of a place. */
  #serveAll(): boolean {
    /** Waiters that count on a connection that is being made. */
    const promised = new Map<string, number>()
    let starving = false
    for (const waiter of [...this.#waiters]) {
      if (this.#lease(waiter, starving)) continue
      const ahead = promised.get(waiter.machineKey) ?? 0
      if (ahead < this.#connecting(waiter.machineKey) * this.#options.channelsPerConnection) {
        promised.set(waiter.machineKey, ahead + 1)
      } else if (this.#places.size < this.#options.maxPerUser || this.#evict(waiter.machineKey)) {
        promised.set(waiter.machineKey, ahead + 1)
        this.#open(waiter)
      } else {
        starving = true
      }
    }
    return starving
  }

  /**
   * The least loaded connection to the machine. While somebody waits for a place the fullest one is taken instead,
   * so that another may run empty.
   */
  #lease(waiter: Waiter<Connection>, starving: boolean): boolean {
    let best: Place<Connection> | undefined
    for (const place of this.#places) {
      if (place.machineKey !== waiter.machineKey || place.connection === undefined || place.connection.closed)
        continue
      if (place.leases >= this.#options.channelsPerConnection) continue
      const better =
        best === undefined || (starving ? place.leases > best.leases : place.leases < best.leases)
      if (better) best = place
    }
    if (best?.connection === undefined) return false
    const place = best
    // Used last, so evicted last.
    this.#places.delete(place)
    this.#places.add(place)
    const onOffer = (): void => {
      if (this.#waiters.size > 0) this.#serve()
    }
    waiter.resolve(place.lease(best.connection, () => this.#released(place), onOffer))
    return true
  }

  #connecting(machineKey: string): number {
    let count = 0
    for (const place of this.#places) {
      if (place.machineKey === machineKey && place.connection === undefined) count++
    }
    return count
  }

  /** Makes room for another machine's connection: the one that is idle for longest goes. */
  #evict(machineKey: string): boolean {
    for (const place of this.#places) {
      if (!place.idle || place.machineKey === machineKey) continue
      this.#remove(place)
      return true
    }
    return false
  }

  /** Takes one lease back that is kept for speed alone; its release serves again. */
  #takeOffer(): void {
    for (const place of this.#places) {
      for (const giveBack of place.offers) {
        place.offers.delete(giveBack)
        return giveBack()
      }
    }
  }

  #open(waiter: Waiter<Connection>): void {
    const place = new Place<Connection>(waiter.machineKey)
    this.#places.add(place)
    this.#connect(waiter.route, place.abort.signal).then(
      (connection) => {
        if (!this.#places.has(place)) return connection.end()
        place.connection = connection
        connection.onClose(() => {
          if (!this.#places.has(place)) return
          this.#remove(place)
          this.#serve()
          this.#checkEmpty()
        })
        this.#serve()
        if (place.idle) this.#idle(place)
        this.#rejectOverdue()
      },
      (error: unknown) => {
        this.#remove(place)
        this.#rejectPromised(place.machineKey, asTunnelError(error, 'SSH_HANDSHAKE_FAILED', 'ssh'))
        this.#serve()
        this.#rejectOverdue()
        this.#checkEmpty()
      },
    )
  }

  /** A failed connection fails those that counted on it: as many as it had channels, the oldest first. */
  #rejectPromised(machineKey: string, error: TunnelError): void {
    let left = this.#options.channelsPerConnection
    for (const waiter of [...this.#waiters]) {
      if (waiter.machineKey !== machineKey) continue
      if (left-- <= 0) return
      waiter.reject(error)
    }
  }

  #rejectOverdue(): void {
    for (const waiter of [...this.#waiters]) {
      if (!waiter.overdue || this.#connecting(waiter.machineKey) > 0) continue
      waiter.reject(poolExhausted(waiter.route.name, this.#options.waitMs))
    }
    this.#checkEmpty()
  }

  #released(place: Place<Connection>): void {
    if (!this.#places.has(place)) return
    if (place.idle) this.#idle(place)
    this.#serve()
  }

  #idle(place: Place<Connection>): void {
    place.startIdling(this.#options.idleMs, () => {
      this.#remove(place)
      this.#checkEmpty()
    })
  }

  #remove(place: Place<Connection>): void {
    if (!this.#places.delete(place)) return
    place.stopIdling()
    place.abort.abort()
    place.connection?.end()
  }

  #checkEmpty(): void {
    if (this.#places.size === 0 && this.#waiters.size === 0) this.#onEmpty()
  }
}
