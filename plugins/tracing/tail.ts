import { SpanStatusCode, TraceFlags } from '@opentelemetry/api'
import type { ReadableSpan, SpanProcessor } from '@opentelemetry/sdk-trace-node'

/** Where spans go that are kept. */
export interface Kept {
  add(span: ReadableSpan): void
}

/** Spans that have ended and wait for what comes of their trace; of the oldest traces more are let go. */
const MAX_HELD_SPANS = 10_000
/** Traces of which a span is open, or was never ended. */
const MAX_TRACES = 20_000

/** What this proxy has of one trace that nobody has decided to keep. */
interface Undecided {
  /** Its spans that have not ended. */
  open: number
  isKept: boolean
  held: ReadableSpan[]
}

/**
 * Keeps the spans that were sampled, and of all others the traces in which something went wrong or a stream was resumed:
 * those wait here until that shows, at the latest until their last span has ended.
 */
export class TailProcessor implements SpanProcessor {
  readonly #kept: Kept
  readonly #isWorthKeeping: (span: ReadableSpan) => boolean
  /** The oldest first. */
  readonly #undecided = new Map<string, Undecided>()
  #held = 0

  constructor(kept: Kept, isWorthKeeping: (span: ReadableSpan) => boolean) {
    this.#kept = kept
    this.#isWorthKeeping = isWorthKeeping
  }

  /** Spans and traces that it remembers. */
  get size(): { spans: number; traces: number } {
    return { spans: this.#held, traces: this.#undecided.size }
  }

  onStart(span: Pick<ReadableSpan, 'spanContext'>): void {
    const { traceId, traceFlags } = span.spanContext()
    if ((traceFlags & TraceFlags.SAMPLED) !== 0) return
    const trace = this.#undecided.get(traceId)
    if (trace !== undefined) {
      trace.open++
      return
    }
    if (this.#undecided.size >= MAX_TRACES) this.#forgetOldest()
    this.#undecided.set(traceId, { open: 1, isKept: false, held: [] })
  }

  onEnd(span: ReadableSpan): void {
    const { traceId, traceFlags } = span.spanContext()
    if ((traceFlags & TraceFlags.SAMPLED) !== 0) return this.#kept.add(span)
    const trace = this.#undecided.get(traceId)
    if (this.#isWorthKeeping(span)) {
      if (trace !== undefined) this.#keep(trace)
      this.#kept.add(span)
    } else if (trace?.isKept) this.#kept.add(span)
    else if (trace !== undefined) this.#hold(trace, span)
    if (trace === undefined || --trace.open > 0) return
    this.#forget(traceId, trace)
  }

  async forceFlush(): Promise<void> {}

  async shutdown(): Promise<void> {
    this.#undecided.clear()
    this.#held = 0
  }

  #keep(trace: Undecided): void {
    trace.isKept = true
    this.#held -= trace.held.length
    for (const span of trace.held.splice(0)) this.#kept.add(span)
  }

  #hold(trace: Undecided, span: ReadableSpan): void {
    trace.held.push(span)
    this.#held++
    while (this.#held > MAX_HELD_SPANS) this.#forgetOldest()
  }

  #forgetOldest(): void {
    for (const [traceId, trace] of this.#undecided) return this.#forget(traceId, trace)
  }

  #forget(traceId: string, trace: Undecided): void {
    if (this.#undecided.get(traceId) !== trace) return
    this.#undecided.delete(traceId)
    this.#held -= trace.held.length
  }
}

/** Of spans of ours: it ended badly, or it was resumed. */
export function isTelling({ status, attributes }: ReadableSpan): boolean {
  return status.code === SpanStatusCode.ERROR || Number(attributes.resumes ?? 0) > 0
}
