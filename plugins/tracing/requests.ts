import {
  type Context,
  context,
  createContextKey,
  createTraceState,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { readTraceContext, readTraceparent, type TraceContext } from '../../protocol/codec/trace-context.ts'
import type { AttributesOf } from './spans.ts'
import { tracerOf, untold, withTracer } from './tracer.ts'

const REQUEST = createContextKey('ssh-websocket-tunnel request')

/** Of a request that was not given a name of its own by a route. */
const UNROUTED = 'request'
/** Asked for by machines every few seconds; and the posts of a link over HTTP, which are that link's. */
const QUIET_ROUTES = /^\/api\/tunnel\/(health(\/ready)?|metrics|(connect|agent)\/stream\/up)$/
/** What the instrumentations of Fastify call the span of a handler. */
const HANDLER = /^(request handler|handler|notFoundHandler) - /

/** A request to a route, and its handler while that runs. */
interface Asked {
  readonly span: Span
  handler: Span | undefined
}

/** The parent of our spans, by what a caller says. */
export function remoteParent({ traceparent, tracestate }: TraceContext): Context | undefined {
  const parent = readTraceparent(traceparent)
  if (parent === undefined) return undefined
  const { traceId, spanId, isSampled } = parent
  const traceFlags = isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE
  const state = tracestate === undefined ? {} : { traceState: createTraceState(tracestate) }
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true, ...state })
}

/** Several fields of a name come as one text. */
function givenBy({ traceparent, tracestate }: FastifyRequest['headers']): TraceContext {
  return typeof traceparent === 'string'
    ? readTraceContext({ traceparent, tracestate: tracestate?.toString() })
    : {}
}

/** The spans of requests to the proxy's routes. */
export class RequestSpans {
  readonly #tracer: Tracer
  readonly #asked = new WeakMap<object, Asked>()

  constructor(tracer: Tracer) {
    this.#tracer = tracer
  }

  /** The context in which the request is served; undefined where nothing is told of it. */
  begin(request: FastifyRequest): Context | undefined {
    const route = request.routeOptions.url
    if (route !== undefined && QUIET_ROUTES.test(route)) return undefined
    const active = context.active()
    const given = remoteParent(givenBy(request.headers))
    const parent = trace.getSpanContext(active) === undefined ? (given ?? active) : active
    const name = route === undefined ? UNROUTED : `${request.method} ${route}`
    const attributes: AttributesOf<'request'> = {
      'http.request.method': request.method,
      'http.route': route,
      requestId: request.id,
    }
    const span = this.#tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, parent)
    const asked: Asked = { span, handler: undefined }
    this.#asked.set(request, asked)
    // Where its caller has named the trace, the log does so already.
    if (given === undefined) request.log = request.log.child({ traceId: span.spanContext().traceId })
    return withTracer(trace.setSpan(parent, span), this.#tracer).setValue(REQUEST, asked)
  }

  /** The request that has become a link is answered; it is a span of its own from here on. */
  upgraded(request: object): Span | undefined {
    const span = this.#asked.get(request)?.span
    const told: AttributesOf<'request'> = { 'http.response.status_code': 101 }
    if (span !== undefined) this.#end(request, told)
    return span
  }

  end(request: FastifyRequest, { statusCode, elapsedTime }: FastifyReply): void {
    // A request that was refused before anybody was known has no user.
    const { user } = request as Partial<FastifyRequest>
    if (statusCode >= 500) this.#asked.get(request)?.span.setStatus({ code: SpanStatusCode.ERROR })
    const told: AttributesOf<'request'> = {
      'http.response.status_code': statusCode,
      latencyMs: Math.round(elapsedTime),
      userId: user?.sub,
    }
    this.#end(request, told)
  }

  #end(request: object, attributes: AttributesOf<'request'>): void {
    const asked = this.#asked.get(request)
    if (asked === undefined) return
    this.#asked.delete(request)
    // Of one whose answer did not go through Fastify nobody else says that it is over.
    if (asked.handler?.isRecording()) asked.handler.end()
    asked.span.setAttributes(attributes)
    asked.span.end()
  }

  /**
   * The tracer that an instrumentation of Fastify is given: of its spans those of handlers are told, by one name and below
   * the request's, so that either gives the same tree. Its other spans say less than ours, and one of them the whole URL.
   */
  forHandlers(tracer: Tracer): Tracer {
    return tracerOf((name, { attributes = {} }, ctx) => {
      const asked = ctx.getValue(REQUEST) as Asked | undefined
      if (asked === undefined || !HANDLER.test(name)) return untold(ctx)
      const told: AttributesOf<'handler'> = { 'http.route': attributes['http.route'] as string | undefined }
      asked.handler = tracer.startSpan('handler', { attributes: told }, ctx)
      return asked.handler
    })
  }
}
