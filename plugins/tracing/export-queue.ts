import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace-node'

/** What becomes of a span. */
export type SpanOutcome = 'exported' | 'failed' | 'dropped'

export interface ExportWatch {
  counted(outcome: SpanOutcome, spans: number): void
  /** Once for each time that the collector is away. */
  failed(reason: string): void
  recovered(): void
}

/** Spans that wait for the collector; beyond it they are dropped and counted. */
const MAX_WAITING = 4_096
/** Spans in one request. */
const BATCH = 512
/** How long a span waits for others, in ms. */
const DELAY_MS = 2_000
/** After it a collector that neither answers nor closes is given up, in ms; the exporter's own limit is for silence. */
const EXPORT_MS = 15_000

/** Sends spans to a collector, one batch at a time. A collector that is away or slow costs spans, and nothing else. */
export class ExportQueue {
  readonly #exporter: SpanExporter
  readonly #watch: ExportWatch
  #waiting: ReadableSpan[] = []
  #timer: NodeJS.Timeout | undefined
  #sending: Promise<void> | undefined
  #isFailing = false
  #isClosed = false

  constructor(exporter: SpanExporter, watch: ExportWatch) {
    this.#exporter = exporter
    this.#watch = watch
  }

  add(span: ReadableSpan): void {
    if (this.#isClosed || this.#waiting.length >= MAX_WAITING) return this.#watch.counted('dropped', 1)
    this.#waiting.push(span)
    if (this.#waiting.length >= BATCH) this.#send()
    else this.#timer ??= setTimeout(() => this.#send(), DELAY_MS).unref()
  }

  /** Sends what waits. Resolves when it has been sent, when the collector fails, and after `ms` at the latest. */
  async flush(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    let isLate = false
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        isLate = true
        resolve()
      }, ms)
    })
    while (!isLate && (this.#waiting.length > 0 || this.#sending !== undefined)) {
      this.#send()
      await Promise.race([this.#sending, late])
      if (this.#isFailing) break
    }
    clearTimeout(timer)
  }

  /** What still waits is lost. Safe to call twice. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#lose(this.#waiting.splice(0).length, 'dropped')
    // It waits for what is under way, and nobody has to.
    this.#exporter.shutdown().catch(() => {})
  }

  #send(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#sending !== undefined || this.#waiting.length === 0) return
    const batch = this.#waiting.splice(0, BATCH)
    this.#sending = this.#export(batch).then((error) => {
      this.#sending = undefined
      this.#tell(batch.length, error)
      if (this.#waiting.length >= BATCH) this.#send()
      else if (this.#waiting.length > 0) this.#timer ??= setTimeout(() => this.#send(), DELAY_MS).unref()
    })
  }

  /** Why it failed; undefined where it did not. */
  #export(batch: ReadableSpan[]): Promise<Error | undefined> {
    return new Promise((resolve) => {
      const silent = new Error('it does not answer')
      const timer = setTimeout(() => resolve(silent), EXPORT_MS).unref()
      const done = (error: Error | undefined): void => {
        clearTimeout(timer)
        resolve(error)
      }
      try {
        this.#exporter.export(batch, ({ code, error }) =>
          done(code === 0 ? undefined : (error ?? new Error('refused'))),
        )
      } catch (error) {
        done(error as Error)
      }
    })
  }

  #tell(spans: number, error: Error | undefined): void {
    if (error === undefined) {
      this.#watch.counted('exported', spans)
      if (this.#isFailing) this.#watch.recovered()
      this.#isFailing = false
      return
    }
    this.#lose(spans, 'failed')
    if (!this.#isFailing) this.#watch.failed(error.message)
    this.#isFailing = true
  }

  #lose(spans: number, outcome: SpanOutcome): void {
    if (spans > 0) this.#watch.counted(outcome, spans)
  }
}
