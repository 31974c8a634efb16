import {
  type Context,
  context,
  type Link,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  type Tracer,
  type TracerProvider,
  trace,
} from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { BasicTracerProvider } from '@opentelemetry/sdk-trace-node'
import type { FastifyInstance } from 'fastify'
import { packageVersion } from '../../dial/software.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { TraceContext } from '../../protocol/codec/trace-context.ts'
import { watchClients } from './clients.ts'
import { ExportQueue, type ExportWatch } from './export-queue.ts'
import type { TracingOptions } from './options.ts'
import { RequestSpans, remoteParent } from './requests.ts'
import { traceRequests } from './routes.ts'
import { HeadSampler } from './sampler.ts'
import type { AttributesOf } from './spans.ts'
import { markOutcome, StreamSpan, traceparentOf } from './stream-span.ts'
import { isTelling, TailProcessor } from './tail.ts'
import { withTracer } from './tracer.ts'
import type { LinkTrace, StreamTrace, TracedLink, TracedStream, Tracing } from './tracing.ts'

const OURS = 'ssh-websocket-tunnel'
/** How long a proxy that closes waits for the collector, in ms. */
const FLUSH_MS = 1_000
/** Attributes may hold what a peer says. */
const MAX_TEXT = 512

/** The one module that loads OpenTelemetry, with those that it imports. */
export class OpenTelemetry implements Tracing {
  /** Whose spans the handlers of routes are, for what looks into them. */
  readonly ofHandlers: TracerProvider
  readonly #queue: ExportQueue
  readonly #tracer: Tracer
  readonly #requests: RequestSpans
  readonly #root: Context
  /** The spans of links that stand, by their connection. */
  readonly #links = new Map<string, SpanContext>()
  readonly #unwatchClients: () => void

  constructor(options: TracingOptions, watch: ExportWatch) {
    this.#queue = new ExportQueue(new OTLPTraceExporter({ url: options.url }), watch)
    const provider = new BasicTracerProvider({
      resource: resourceFromAttributes({ 'service.name': OURS, 'service.version': packageVersion() }),
      sampler: new HeadSampler(options),
      spanLimits: { attributeValueLengthLimit: MAX_TEXT },
      spanProcessors: [
        new TailProcessor(this.#queue, (span) => span.instrumentationScope.name === OURS && isTelling(span)),
      ],
    })
    this.#tracer = provider.getTracer(OURS, packageVersion())
    this.#requests = new RequestSpans(this.#tracer)
    const handlers = this.#requests.forHandlers(provider.getTracer(`${OURS}/routes`))
    this.ofHandlers = { getTracer: () => handlers }
    this.#root = withTracer(ROOT_CONTEXT, this.#tracer)
    this.#unwatchClients = watchClients()
  }

  traceRequests(app: FastifyInstance): void {
    traceRequests(app, this.#requests)
  }

  async during<T>(name: string, work: () => Promise<T>): Promise<T> {
    const ctx = context.active()
    if (trace.getSpan(ctx)?.isRecording() !== true) return work()
    const span = this.#tracer.startSpan(name, {}, ctx)
    try {
      const done = await context.with(trace.setSpan(ctx, span), work)
      markOutcome(span, undefined)
      return done
    } catch (error) {
      markOutcome(span, asTunnelError(error, 'proxy'))
      throw error
    } finally {
      span.end()
    }
  }

  traceContext(): TraceContext {
    const span = trace.getSpan(context.active())
    if (!span?.isRecording()) return {}
    const tracestate = span.spanContext().traceState?.serialize()
    return { traceparent: traceparentOf(span), ...(tracestate && { tracestate }) }
  }

  link(link: TracedLink, request: object): LinkTrace {
    const { connectionId, correlationId, user, role } = link
    const asked = this.#requests.upgraded(request)
    const links: Link[] = asked === undefined ? [] : [{ context: asked.spanContext() }]
    const attributes: AttributesOf<'link'> = {
      ...{ role, connectionId, requestId: correlationId, userId: user.sub },
    }
    const span = this.#tracer.startSpan('link', { attributes, links, root: true }, this.#root)
    this.#links.set(connectionId, span.spanContext())
    return {
      ended: ({ machine }: TracedLink, error: TunnelError | undefined) => {
        this.#links.delete(connectionId)
        const last: AttributesOf<'link'> = { machine }
        span.setAttributes(last)
        markOutcome(span, error)
        span.end()
      },
    }
  }

  stream(stream: TracedStream, given: TraceContext): StreamTrace {
    const { head, mode, moved, connectionId, correlationId, user } = stream
    const link = this.#links.get(connectionId)
    const attributes: AttributesOf<'stream'> = {
      ...{ kind: head.kind, mode, streamId: head.id, connectionId, requestId: correlationId },
      ...{ userId: user.sub, moved },
    }
    // On a link many streams of several traces meet; one that came by a route is a part of that request.
    const active = link === undefined ? context.active() : ROOT_CONTEXT
    const isPart = trace.getSpanContext(active) !== undefined
    const parent = isPart ? active : (remoteParent(given) ?? ROOT_CONTEXT)
    const ctx = withTracer(parent, this.#tracer)
    const links: Link[] = link === undefined ? [] : [{ context: link }]
    const kind = isPart ? SpanKind.INTERNAL : SpanKind.SERVER
    const span = this.#tracer.startSpan(`stream ${head.kind}`, { attributes, links, kind }, ctx)
    return new StreamSpan(span, ctx, this)
  }

  /** Sends what there is, as far as the collector takes it soon. */
  flush(): Promise<void> {
    return this.#queue.flush(FLUSH_MS)
  }

  async close(): Promise<void> {
    this.#unwatchClients()
    await this.flush()
    await this.#queue.close()
  }
}
