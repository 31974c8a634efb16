import { type Context, context, type Span, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api'
import { isFault, type TunnelError } from '../../protocol/codec/errors.ts'
import { writeTraceparent } from '../../protocol/codec/trace-context.ts'
import type { AttributesOf } from './spans.ts'
import type { StreamTrace, TracedStream, Tracing } from './tracing.ts'

/** How a piece of work ended: an error is one where it is somebody's fault. */
export function markOutcome(span: Span, error: TunnelError | undefined): void {
  span.setAttribute('outcome', error?.code ?? 'ok')
  if (error !== undefined && isFault(error))
    span.setStatus({ code: SpanStatusCode.ERROR, message: error.publicMessage })
}

/** The span in a context, as whoever does a part of the work is told it. */
export function traceparentOf(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext()
  return writeTraceparent({ traceId, spanId, isSampled: (traceFlags & TraceFlags.SAMPLED) !== 0 })
}

export class StreamSpan implements StreamTrace {
  readonly #span: Span
  readonly #context: Context
  readonly #tracing: Pick<Tracing, 'during'>
  #resumes = 0

  constructor(span: Span, ctx: Context, tracing: Pick<Tracing, 'during'>) {
    this.#span = span
    this.#context = trace.setSpan(ctx, span)
    this.#tracing = tracing
  }

  get traceId(): string {
    return this.#span.spanContext().traceId
  }
  get isSampled(): boolean {
    return (this.#span.spanContext().traceFlags & TraceFlags.SAMPLED) !== 0
  }
  get traceparent(): string {
    return traceparentOf(this.#span)
  }

  within<T>(work: () => T): T {
    return context.with(this.#context, work)
  }

  during<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.within(() => this.#tracing.during(name, work))
  }

  answered(latencyMs: number): void {
    this.#set({ latencyMs: Math.round(latencyMs) })
  }

  suspended(): void {
    this.#span.addEvent('suspended')
  }

  resumed(gapMs: number): void {
    this.#resumes++
    this.#span.addEvent('resumed', { gapMs: Math.round(gapMs) })
  }

  ended(
    { user, machine, owner, target }: TracedStream,
    { error, bytesIn, bytesOut }: { error: TunnelError | undefined; bytesIn: number; bytesOut: number },
  ): void {
    // What it is called by its user may be another's name for it, until it is admitted.
    this.#set({ userId: user.sub, machine, owner, target, bytesIn, bytesOut, resumes: this.#resumes })
    markOutcome(this.#span, error)
    this.#span.end()
  }

  #set(attributes: AttributesOf<'stream'>): void {
    this.#span.setAttributes(attributes)
  }
}
