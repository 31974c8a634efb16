import fp from 'fastify-plugin'
import type { SSHConnection } from '../ssh/index.ts'
import type { PoolOptions } from './options.ts'
import type { ChannelLease as LeaseOf } from './place.ts'
import { type AcquireRequest, ConnectionPool, type PoolStates } from './pool.ts'

export type { AcquireRequest, PoolStates } from './pool.ts'
export type ChannelLease = LeaseOf<SSHConnection>

export interface Pool {
  /** Throws POOL_EXHAUSTED with retryAfterMs, CIRCUIT_OPEN, or why the machine cannot be reached. */
  acquire(request: AcquireRequest): Promise<ChannelLease>
  waiting(userId: string): number
  states(userId?: string): PoolStates
}

declare module 'fastify' {
  interface FastifyInstance {
    pool: Pool
  }
}

export default fp<PoolOptions>(
  async (app, options) => {
    const { keepAliveMs } = options
    const pool = new ConnectionPool<SSHConnection>(options, ({ userId, route, signal }) =>
      // The breaker guards the connecting itself: many requests share one attempt, and it is one failure.
      app.breaker.run({ user: userId, owner: route.owner, machine: route.name }, () =>
        app.ssh.connect({ userId, route, signal, keepAliveMs }),
      ),
    )
    app.decorate('pool', pool)
    app.addHook('onClose', async () => pool.close())
    app.tunnelMetrics?.onRead(() => {
      const { connecting, idle, busy } = pool.states()
      app.tunnelMetrics.poolConnections.set({ state: 'connecting' }, connecting)
      app.tunnelMetrics.poolConnections.set({ state: 'idle' }, idle)
      app.tunnelMetrics.poolConnections.set({ state: 'busy' }, busy)
    })
  },
  { name: 'tunnel-pool', fastify: '5.x', dependencies: ['tunnel-breaker', 'tunnel-ssh'] },
)
