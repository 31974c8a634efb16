import { type Clock, systemClock } from '../../protocol/clock.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { Priority } from '../../protocol/codec/heads.ts'
import { shuttingDown } from '../../protocol/codec/shutting-down.ts'
import type { Route } from '../machines/index.ts'
import type { ChannelLease, PlaceLease } from './lease.ts'
import type { PoolOptions } from './options.ts'
import type { PooledConnection } from './place.ts'
import type { ConnectionReport, WaitReport } from './reports.ts'
import { UserPool } from './user-pool.ts'

export interface AcquireRequest {
  userId: string
  route: Route
  /** @default 'normal' */
  priority?: Priority
  signal?: AbortSignal
}

/** One attempt to connect, which may serve many requests. */
export type ConnectRequest = Pick<AcquireRequest, 'userId' | 'route'> & { signal: AbortSignal }

export interface PoolWatch {
  /** A request has its place, after so many ms. */
  waited?(ms: number): void
  /** A user's last connection to a machine was lost while it stood. */
  lost?(request: Pick<AcquireRequest, 'userId' | 'route'>, error: TunnelError): void
  /** Waits for a place, and may tell of it. */
  waiting?<T>(work: () => Promise<T>): Promise<T>
}

export type PoolStates = { connecting: number; idle: number; busy: number }

/** A channel that is open, and the place that it takes. */
export interface OpenChannel<Connection extends PooledConnection, Channel> {
  lease: ChannelLease<Connection>
  channel: Channel
}

/** The SSH connections of all users. One user's waiting never holds up another. */
export class ConnectionPool<Connection extends PooledConnection> {
  readonly #options: PoolOptions
  readonly #connect: (request: ConnectRequest) => Promise<Connection>
  readonly #clock: Clock
  readonly #watch: PoolWatch
  readonly #users = new Map<string, UserPool<Connection>>()
  #closed = false

  constructor(
    options: PoolOptions,
    connect: (request: ConnectRequest) => Promise<Connection>,
    clock: Clock = systemClock,
    watch: PoolWatch = {},
  ) {
    this.#watch = watch
    this.#options = options
    this.#connect = connect
    this.#clock = clock
  }

  /** A channel's place, waited for in turn. Throws POOL_EXHAUSTED, ABORTED, SHUTTING_DOWN, or why connecting failed. */
  acquire(request: AcquireRequest): Promise<ChannelLease<Connection>> {
    return this.#acquire(request, this.#options.waitMs, false)
  }

  /**
   * A place, and what `open` opens there. A channel that the server refuses because it has enough of them was never
   * run: it is opened at another place, or there again a moment later. Throws as `acquire` does, or what `open` throws.
   */
  async open<Channel>(
    request: AcquireRequest,
    open: (connection: Connection) => Promise<Channel>,
  ): Promise<OpenChannel<Connection, Channel>> {
    const untilMs = this.#clock.now() + this.#options.waitMs
    let leftMs = this.#options.waitMs
    for (let isAgain = false; ; isAgain = true) {
      const lease = await this.#acquire(request, leftMs, isAgain)
      try {
        const channel = await open(lease.connection)
        lease.opened()
        return { lease, channel }
      } catch (error) {
        leftMs = untilMs - this.#clock.now()
        if (error instanceof TunnelError && error.code === 'TIMEOUT') lease.connection.probe?.()
        const isFull = lease.connection.isFull?.(error) === true
        if (isFull && lease.refused() && leftMs > 0) continue
        lease.release()
        throw error
      }
    }
  }

  /** Of the user's requests, how many wait for a place. */
  waiting(userId: string): number {
    return this.#users.get(userId)?.waiting ?? 0
  }

  /** Over all users, or of one. */
  states(userId?: string): PoolStates {
    const total: PoolStates = { connecting: 0, idle: 0, busy: 0 }
    for (const { state } of this.connections(userId)) total[state]++
    return total
  }

  /** Every connection, or those of one user. */
  connections(userId?: string): (ConnectionReport & { user: string })[] {
    return this.#of(userId, (user, pool) => pool.report().connections.map((report) => ({ user, ...report })))
  }

  /** What waits for a channel, by machine. */
  waits(userId?: string): (WaitReport & { user: string })[] {
    return this.#of(userId, (user, pool) => pool.report().waits.map((report) => ({ user, ...report })))
  }

  #of<T>(userId: string | undefined, reports: (user: string, pool: UserPool<Connection>) => T[]): T[] {
    const users = [...this.#users].filter(([id]) => userId === undefined || id === userId)
    return users.flatMap(([id, pool]) => reports(id, pool))
  }

  /** Makes a connection to a machine to which the user has none, and leaves it idle. Rejects as `acquire`. */
  async warm(request: AcquireRequest): Promise<void> {
    const lease = await this.acquire(request)
    lease.release()
  }

  /** Ends whatever anybody has to one machine: its connections, and with `error` the wait for one. */
  endMachine(owner: string, name: string, error: TunnelError): void {
    for (const user of [...this.#users.values()]) user.endMachine(owner, name, error)
  }

  /** Ends every connection. Safe to call twice. */
  close(): void {
    this.#closed = true
    for (const user of [...this.#users.values()]) user.close()
  }

  async #acquire(
    { userId, route, priority = 'normal', signal }: AcquireRequest,
    waitMs: number,
    isAgain: boolean,
  ): Promise<PlaceLease<Connection>> {
    if (this.#closed) throw shuttingDown()
    const sinceMs = this.#clock.now()
    const wish = { route, priority, signal, waitMs, isAgain }
    const wait = () => this.#userPool(userId).acquire(wish)
    const lease = await (this.#watch.waiting === undefined ? wait() : this.#watch.waiting(wait))
    this.#watch.waited?.(this.#clock.now() - sinceMs)
    return lease
  }

  #userPool(userId: string): UserPool<Connection> {
    const known = this.#users.get(userId)
    if (known !== undefined) return known
    const user: UserPool<Connection> = new UserPool<Connection>(this.#options, this.#clock, {
      connect: (route, signal) => this.#connect({ userId, route, signal }),
      lost: (route, error) => this.#watch.lost?.({ userId, route }, error),
      empty: () => {
        if (this.#users.get(userId) === user) this.#users.delete(userId)
      },
    })
    this.#users.set(userId, user)
    return user
  }
}
