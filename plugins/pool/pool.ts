import type { Priority } from '../../protocol/codec/heads.ts'
import type { Route } from '../machines/index.ts'
import { poolClosed } from './errors.ts'
import type { PoolOptions } from './options.ts'
import type { ChannelLease, PooledConnection } from './place.ts'
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

export type PoolStates = { connecting: number; idle: number; busy: number }

/** The SSH connections of all users. One user's waiting never holds up another. */
export class ConnectionPool<Connection extends PooledConnection> {
  readonly #options: PoolOptions
  readonly #connect: (request: ConnectRequest) => Promise<Connection>
  readonly #users = new Map<string, UserPool<Connection>>()
  #closed = false

  constructor(options: PoolOptions, connect: (request: ConnectRequest) => Promise<Connection>) {
    this.#options = options
    this.#connect = connect
  }

  /** A channel's place, waited for in turn. Throws POOL_EXHAUSTED, ABORTED, SHUTTING_DOWN, or why connecting failed. */
  async acquire({ userId, route, signal }: AcquireRequest): Promise<ChannelLease<Connection>> {
    if (this.#closed) throw poolClosed()
    return this.#of(userId).acquire(route, signal)
  }

  /** Of the user's requests, how many wait for a place. */
  waiting(userId: string): number {
    return this.#users.get(userId)?.waiting ?? 0
  }

  /** Over all users, or of one. */
  states(userId?: string): PoolStates {
    const total: PoolStates = { connecting: 0, idle: 0, busy: 0 }
    for (const [id, user] of this.#users) {
      if (userId !== undefined && id !== userId) continue
      const states = user.states()
      total.connecting += states.connecting
      total.idle += states.idle
      total.busy += states.busy
    }
    return total
  }

  /** Ends every connection. Safe to call twice. */
  close(): void {
    this.#closed = true
    for (const user of [...this.#users.values()]) user.close()
  }

  #of(userId: string): UserPool<Connection> {
    let user = this.#users.get(userId)
    if (user === undefined) {
      user = new UserPool<Connection>(
        this.#options,
        (route, signal) => this.#connect({ userId, route, signal }),
        () => this.#users.delete(userId),
      )
      this.#users.set(userId, user)
    }
    return user
  }
}
