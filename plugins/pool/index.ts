import fp from 'fastify-plugin'
import { systemClock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { SSHConnection } from '../ssh/index.ts'
import type { ChannelLease as LeaseOf } from './lease.ts'
import type { PoolOptions } from './options.ts'
import { type AcquireRequest, ConnectionPool, type OpenChannel, type PoolStates } from './pool.ts'
import type { ConnectionReport, WaitReport } from './reports.ts'
import { WarmUp } from './warm.ts'

export type { OfferReason } from './lease.ts'
export type { AcquireRequest, OpenChannel, PoolStates } from './pool.ts'
export type ChannelLease = LeaseOf<SSHConnection>

export interface Pool {
  /** Throws POOL_EXHAUSTED with retryAfterMs, CIRCUIT_OPEN, or why the machine cannot be reached. */
  acquire(request: AcquireRequest): Promise<ChannelLease>
  /**
   * A place, and the channel that `open` opens on its connection. Where the machine's sshd has as many as it takes,
   * `open` is called again for another place or a moment later. Throws as `acquire` does, or what `open` throws.
   */
  open<Channel>(
    request: AcquireRequest,
    open: (connection: SSHConnection) => Promise<Channel>,
  ): Promise<OpenChannel<SSHConnection, Channel>>
  waiting(userId: string): number
  states(userId?: string): PoolStates
  /** Every connection and every wait, of all users or of one. */
  connections(userId?: string): (ConnectionReport & { user: string })[]
  waits(userId?: string): (WaitReport & { user: string })[]
  /** Makes a connection ahead. Rejects as `acquire`. */
  warm(request: AcquireRequest): Promise<void>
  /** Ends whatever anybody has to one machine: its connections, and with `error` the wait for one. */
  endMachine(owner: string, name: string, error: TunnelError): void
}

declare module 'fastify' {
  interface FastifyInstance {
    pool: Pool
  }
}

/** Connections that are made before they are asked for. */
export const poolWarmUp = fp<PoolOptions>(
  async (app, options) => {
    const warmUp = new WarmUp(options, app)
    app.tunnel.addHook('onConnect', ({ role, user, log }) => {
      const failed = (machine: string, err: unknown): void =>
        log.debug({ err, context: { machine } }, 'a connection could not be made ahead')
      if (role === 'client') void warmUp.run(user, failed)
    })
  },
  {
    name: 'tunnel-pool-warm-up',
    fastify: '5.x',
    dependencies: ['tunnel-policy', 'tunnel-machines', 'tunnel-pool', 'tunnel-forward'],
  },
)

export default fp<PoolOptions>(
  async (app, options) => {
    const pool = new ConnectionPool<SSHConnection>(
      options,
      ({ userId, route, signal }) =>
        // The breaker guards the connecting itself: many requests share one attempt, and it is one failure.
        app.breaker.run({ user: userId, owner: route.owner, machine: route.name }, () =>
          app.tracing.during('ssh connect', () =>
            app.ssh.connect({ userId, route, signal, keepAliveMs: options.keepAliveMs }),
          ),
        ),
      systemClock,
      {
        waited: (ms) => app.tunnelMetrics.poolWaitMs.observe({}, ms),
        lost: ({ userId, route }, error) =>
          app.breaker.lost({ user: userId, owner: route.owner, machine: route.name }, error),
        waiting: (work) => app.tracing.during('pool wait', work),
      },
    )
    app.decorate('pool', pool)
    app.machines.onForgotten((owner, name, error) => pool.endMachine(owner, name, error))
    app.addHook('onClose', async () => pool.close())
    app.tunnelMetrics.onRead(() => {
      const { connecting, idle, busy } = pool.states()
      app.tunnelMetrics.poolConnections.set({ state: 'connecting' }, connecting)
      app.tunnelMetrics.poolConnections.set({ state: 'idle' }, idle)
      app.tunnelMetrics.poolConnections.set({ state: 'busy' }, busy)
    })
  },
  {
    name: 'tunnel-pool',
    fastify: '5.x',
    dependencies: ['tunnel-metrics', 'tunnel-tracing', 'tunnel-breaker', 'tunnel-ssh', 'tunnel-machines'],
  },
)
