import { context, type TracerProvider } from '@opentelemetry/api'
import { FastifyInstrumentation } from '@opentelemetry/instrumentation-fastify'
import type { FastifyInstance } from 'fastify'
import type { RequestSpans } from './requests.ts'

/** Each request to a route is a span of `requests`. */
export function traceRequests(app: FastifyInstance, requests: RequestSpans): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const ctx = requests.begin(request)
    if (ctx === undefined) done()
    else context.with(ctx, done)
  })
  app.addHook('onResponse', (request, reply, done) => {
    requests.end(request, reply)
    done()
  })
}

/**
 * It is not asked to watch what is loaded: in one file with everything else, nothing is. It is given the application in the
 * place of what it would have hooked.
 */
class GivenInstrumentation extends FastifyInstrumentation {
  constructor(provider: TracerProvider) {
    super({ enabled: false })
    this.setTracerProvider(provider)
  }

  override isEnabled(): boolean {
    return true
  }

  instrument(app: FastifyInstance): void {
    for (const { patch } of this.init()) patch?.({ fastify: () => app })()
  }
}

/** The routes' handlers are spans too, of `provider`'s. */
export function traceHandlers(app: FastifyInstance, provider: TracerProvider): void {
  new GivenInstrumentation(provider).instrument(app)
}
