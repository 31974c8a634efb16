import fp from 'fastify-plugin'
import { systemClock } from '../../protocol/clock.ts'
import { shuttingDown } from '../../protocol/codec/shutting-down.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import { TunnelHooks } from './hooks.ts'
import type { RequestOptions } from './options.ts'
import { Streams } from './streams.ts'

export type { AdmittedGuest, Guest } from './guests.ts'
export type {
  CloseContext,
  LinkContext,
  OpenContext,
  TunnelHook,
  TunnelHookContexts,
  TunnelHookName,
} from './hooks.ts'
export type { Carrier } from './kinds.ts'
export type { RecentError, StreamReport, Usage } from './reports.ts'
export type { ServeContext } from './serve.ts'
export type { OpenerLink, Streams } from './streams.ts'
export type { StreamWatcher, WatchedDirection } from './watched-stream.ts'

declare module 'fastify' {
  interface FastifyInstance {
    tunnel: TunnelHooks
    forward: Streams
  }
}

export interface ForwardOptions {
  request: RequestOptions
  streams: StreamsOptions
}

export default fp<ForwardOptions>(
  async (app, { request, streams }) => {
    const hooks = new TunnelHooks(request.hookMs)
    const forward = new Streams({ request, streams, clock: systemClock }, app, hooks)
    app.decorate('tunnel', hooks)
    app.decorate('forward', forward)
    app.lifecycle.onDrain('close', () => forward.close(shuttingDown()))
    app.tunnelMetrics.onRead(() => {
      const { queueSize, streams: levels, streamBufferBytes, streamBudgetRatio } = app.tunnelMetrics
      const { bytes, fullest } = forward.overview.held()
      streamBufferBytes.set({}, bytes)
      streamBudgetRatio.set({}, fullest)
      const { high, normal, low } = forward.waiting()
      queueSize.set({ priority: 'high' }, high)
      queueSize.set({ priority: 'normal' }, normal)
      queueSize.set({ priority: 'low' }, low)
      for (const [kind, state, count] of forward.overview.counts()) levels.set({ kind, state }, count)
      forward.overview.countBytes()
    })
  },
  {
    name: 'tunnel-forward',
    fastify: '5.x',
    dependencies: [
      'tunnel-lifecycle',
      'tunnel-audit',
      'tunnel-metrics',
      'tunnel-tracing',
      'tunnel-tiers',
      'tunnel-auth',
      'tunnel-policy',
      'tunnel-ratelimit',
      'tunnel-machines',
      'tunnel-pool',
    ],
  },
)
