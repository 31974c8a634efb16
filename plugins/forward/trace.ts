import type { TunnelError } from '../../protocol/codec/errors.ts'
import { readTraceparent, type TraceContext, traceContextOf } from '../../protocol/codec/trace-context.ts'
import type { StreamTrace, Tracing } from '../tracing/index.ts'
import type { OpenContext } from './hooks.ts'

/** The trace that a stream belongs to: the one that its opener named, with a span of our own where tracing is on. */
export class PassageTrace {
  readonly #context: OpenContext
  readonly #given: TraceContext
  readonly #span: StreamTrace | undefined

  constructor(context: OpenContext, tracing: Pick<Tracing, 'stream'>) {
    this.#context = context
    const { head } = context
    this.#given = traceContextOf(head)
    this.#span = tracing.stream(context, this.#given)
    const traceId = this.#span?.traceId ?? readTraceparent(this.#given.traceparent)?.traceId
    // Every line of the stream's log names it; of a request the service is told too.
    if (traceId !== undefined) context.log = context.log.child({ traceId })
    if (this.#span !== undefined && head.kind === 'http')
      context.headers = {
        traceparent: this.#span.traceparent,
        tracestate: this.#given.tracestate ?? '',
      }
  }

  /** Of a trace that somebody keeps. */
  get keptId(): string | undefined {
    const span = this.#span
    if (span !== undefined) return span.isSampled ? span.traceId : undefined
    const parent = readTraceparent(this.#given.traceparent)
    return parent?.isSampled ? parent.traceId : undefined
  }

  /** For whoever does a part of the stream's work; a `tracestate` in its head stays what it is. */
  get traceparent(): string | undefined {
    return this.#span?.traceparent ?? this.#context.head.traceparent
  }

  /** What `work` begins is told as the stream's. */
  within<T>(work: () => T): T {
    return this.#span === undefined ? work() : this.#span.within(work)
  }

  admission<T>(work: () => Promise<T>): Promise<T> {
    return this.#span === undefined ? work() : this.#span.during('admission', work)
  }

  answered(latencyMs: number): void {
    this.#span?.answered(latencyMs)
  }

  suspended(): void {
    this.#span?.suspended()
  }

  resumed(gapMs: number): void {
    this.#span?.resumed(gapMs)
  }

  ended(end: { error: TunnelError | undefined; bytesIn: number; bytesOut: number }): void {
    this.#span?.ended(this.#context, end)
  }
}
