import fp from 'fastify-plugin'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import type { User } from '../auth/index.ts'
import { Forwarder, type PolicyStream } from './forwarder.ts'
import { type OpenContext, TunnelHooks } from './hooks.ts'
import type { RequestOptions } from './options.ts'

export type {
  CloseContext,
  LinkContext,
  OpenContext,
  TunnelHook,
  TunnelHookContexts,
  TunnelHookName,
} from './hooks.ts'

export interface Forward {
  /**
   * Hooks, token, policy, bucket, for streams of every kind; throws what refuses. Counts the refused request; the
   * caller tells the peer and counts the error.
   */
  authorise(context: OpenContext): Promise<void>
  /** Policy alone, for a stream that goes on; throws POLICY_DENIED. Answers with the target in its one form. */
  checkPolicy(user: User, stream: PolicyStream): Promise<string | undefined>
  /**
   * Carries an inspected stream (tcp, http, exec) that has been authorised, to its end; never throws. Counts it, and
   * runs its onOpen and onClose hooks; those of sealed streams are run by whoever relays them.
   */
  serve(stream: TunnelStream, context: OpenContext): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    tunnel: TunnelHooks
    forward: Forward
  }
}

export default fp<RequestOptions>(
  async (app, options) => {
    const hooks = new TunnelHooks(options.hookMs)
    const forwarder = new Forwarder(options, app, hooks, {
      refused: (kind, error) => app.tunnelMetrics.requests.inc({ kind, outcome: error.code }),
      over(kind, error, durationMs) {
        const metrics = app.tunnelMetrics
        metrics.requests.inc({ kind, outcome: error?.code ?? 'ok' })
        if (error !== undefined) metrics.countError(error)
        if (kind !== 'http' && error === undefined) metrics.requestLatencyMs.observe({ kind }, durationMs)
      },
      head: (latencyMs) => app.tunnelMetrics.requestLatencyMs.observe({ kind: 'http' }, latencyMs),
      bytes(bytesIn, bytesOut) {
        app.tunnelMetrics.bytes.inc({ direction: 'in', mode: 'inspected' }, bytesIn)
        app.tunnelMetrics.bytes.inc({ direction: 'out', mode: 'inspected' }, bytesOut)
      },
    })
    app.decorate('tunnel', hooks)
    app.decorate('forward', forwarder)
    app.addHook('onClose', async () => forwarder.close())
    app.tunnelMetrics.onRead(() => {
      const { high, normal, low } = forwarder.waiting()
      app.tunnelMetrics.queueSize.set({ priority: 'high' }, high)
      app.tunnelMetrics.queueSize.set({ priority: 'normal' }, normal)
      app.tunnelMetrics.queueSize.set({ priority: 'low' }, low)
    })
  },
  {
    name: 'tunnel-forward',
    fastify: '5.x',
    dependencies: ['tunnel-metrics', 'tunnel-policy', 'tunnel-ratelimit', 'tunnel-pool', 'tunnel-machines'],
  },
)
