import {
  type Attributes,
  type Context,
  type Link,
  type SpanKind,
  TraceFlags,
  trace,
} from '@opentelemetry/api'
import {
  type Sampler,
  SamplingDecision,
  type SamplingResult,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-node'

/**
 * Decides what is kept whatever comes of it: what the caller keeps, and of the rest the share that the settings say. Every
 * span is recorded all the same, because only its end shows whether it is worth keeping (`TailProcessor`).
 */
export class HeadSampler implements Sampler {
  readonly #options: { readonly ratio: number }
  #ofRatio: { ratio: number; sampler: Sampler } | undefined

  /** @param options read at each use: the ratio may change */
  constructor(options: { readonly ratio: number }) {
    this.#options = options
  }

  shouldSample(
    context: Context,
    traceId: string,
    name: string,
    kind: SpanKind,
    attributes: Attributes,
    links: Link[],
  ): SamplingResult {
    const parent = trace.getSpanContext(context)
    const isKept =
      parent === undefined
        ? this.#byRatio().shouldSample(context, traceId, name, kind, attributes, links).decision ===
          SamplingDecision.RECORD_AND_SAMPLED
        : (parent.traceFlags & TraceFlags.SAMPLED) !== 0
    return { decision: isKept ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.RECORD }
  }

  #byRatio(): Sampler {
    const { ratio } = this.#options
    if (this.#ofRatio?.ratio !== ratio)
      this.#ofRatio = { ratio, sampler: new TraceIdRatioBasedSampler(ratio) }
    return this.#ofRatio.sampler
  }

  toString(): string {
    return `HeadSampler{${this.#options.ratio}}`
  }
}
