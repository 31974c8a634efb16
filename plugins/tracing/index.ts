import type { FastifyInstance, FastifyPluginCallback } from 'fastify'
import fp from 'fastify-plugin'
import type { TracingOptions } from './options.ts'
import { OFF, type Tracing } from './tracing.ts'

export type { LinkTrace, StreamTrace, Tracing } from './tracing.ts'

declare module 'fastify' {
  interface FastifyInstance {
    tracing: Tracing
  }
}

async function tracingPlugin(app: FastifyInstance, options: TracingOptions): Promise<void> {
  if (options.exporter === 'none') {
    app.decorate('tracing', OFF)
    return
  }
  // Late: a proxy that traces nothing loads nothing of it.
  const { OpenTelemetry } = await import('./opentelemetry.ts')
  const tracing = new OpenTelemetry(options, {
    counted: (outcome, spans) => app.tunnelMetrics.spans.inc({ outcome }, spans),
    failed: (reason) =>
      app.log.warn({ context: { reason } }, 'the collector takes no traces; spans are lost until it does'),
    recovered: () => app.log.info({}, 'the collector takes traces again'),
  })
  app.decorate('tracing', tracing)
  tracing.traceRequests(app)
  if (options.fastify === 'otel') {
    const { FastifyOtelInstrumentation } = (await import('@fastify/otel')).default
    const handlers = new FastifyOtelInstrumentation({ instrumentHooks: false })
    handlers.setTracerProvider(tracing.ofHandlers)
    await app.register(handlers.plugin() as FastifyPluginCallback)
  } else {
    const { traceHandlers } = await import('./routes.ts')
    traceHandlers(app, tracing.ofHandlers)
  }
  app.lifecycle.onDrain('close', () => tracing.flush())
  app.addHook('onClose', () => tracing.close())
}

export default fp(tracingPlugin, {
  name: 'tunnel-tracing',
  fastify: '5.x',
  dependencies: ['tunnel-lifecycle', 'tunnel-metrics'],
})
