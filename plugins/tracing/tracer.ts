import {
  type Context,
  context,
  createContextKey,
  INVALID_SPAN_CONTEXT,
  type Span,
  type SpanOptions,
  type Tracer,
  trace,
} from '@opentelemetry/api'

/** Whose tracer makes the spans of what is done in a context: a process may hold several proxies. */
const TRACER = createContextKey('ssh-websocket-tunnel tracer')

export function withTracer(ctx: Context, tracer: Tracer): Context {
  return ctx.setValue(TRACER, tracer)
}

/** A span of which nothing is told. */
export function untold(ctx: Context): Span {
  return trace.wrapSpanContext(trace.getSpanContext(ctx) ?? INVALID_SPAN_CONTEXT)
}

/** A tracer for the instrumentation of a package, whose spans are those of `start`. */
export function tracerOf(start: (name: string, options: SpanOptions, ctx: Context) => Span): Tracer {
  const startSpan = (name: string, options: SpanOptions = {}, ctx: Context = context.active()) =>
    start(name, options, ctx)
  function startActiveSpan(name: string, ...rest: unknown[]): unknown {
    const work = rest.pop() as (span: Span) => unknown
    const [options = {}, ctx = context.active()] = rest as [SpanOptions?, Context?]
    const span = start(name, options, ctx)
    return context.with(trace.setSpan(ctx, span), () => work(span))
  }
  return { startSpan, startActiveSpan: startActiveSpan as Tracer['startActiveSpan'] }
}

/** The tracer of whichever proxy the work is done for; none where it is done for nobody's request. */
export const tracerOfContext = tracerOf((name, options, ctx) => {
  const tracer = ctx.getValue(TRACER) as Tracer | undefined
  return tracer?.startSpan(name, options, ctx) ?? untold(ctx)
})
