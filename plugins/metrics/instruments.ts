import client, { type Registry } from 'prom-client'

/** Only goes up. */
export interface Count<Labels> {
  inc(labels: Labels, by?: number): void
}

/** A level; `set` where it is sampled, `inc` and `dec` where it is tracked. */
export interface Level<Labels> {
  set(labels: Labels, value: number): void
  inc(labels: Labels, by?: number): void
  dec(labels: Labels, by?: number): void
}

/** A distribution of values. */
export interface Spread<Labels> {
  /** @param traceId of a trace that shows such a value: readers of OpenMetrics are given it beside the bucket */
  observe(labels: Labels, value: number, traceId?: string): void
}

export type NoLabels = Record<never, never>
type Labelled<Labels> = { [Name in keyof Labels]: string }
type NameOf<Labels> = keyof Labels & string

/** Makes metrics, each on the registry that is one server's own. */
export class Instruments {
  readonly #registers: Registry[]

  constructor(registry: Registry) {
    this.#registers = [registry]
  }

  count<L extends Labelled<L> = NoLabels>(name: string, help: string, ...labelNames: NameOf<L>[]): Count<L> {
    return new client.Counter<NameOf<L>>({ name, help, labelNames, registers: this.#registers })
  }

  level<L extends Labelled<L> = NoLabels>(name: string, help: string, ...labelNames: NameOf<L>[]): Level<L> {
    return new client.Gauge<NameOf<L>>({ name, help, labelNames, registers: this.#registers })
  }

  /** A level of which that of several workers is the highest or lowest, and not their sum. */
  extreme<L extends Labelled<L> = NoLabels>(
    aggregator: 'max' | 'min',
    name: string,
    help: string,
    ...labelNames: NameOf<L>[]
  ): Level<L> {
    return new client.Gauge<NameOf<L>>({ name, help, labelNames, registers: this.#registers, aggregator })
  }

  /**
   * Durations, observed in milliseconds. They are told in seconds, the base unit of Prometheus and OpenMetrics, and under
   * `older` in milliseconds too, as the seed has them.
   */
  durations<L extends Labelled<L> = NoLabels>(
    { name, older, help }: { name: string; older?: string; help: string },
    bucketsMs: readonly number[],
    ...labelNames: NameOf<L>[]
  ): Spread<L> {
    const common = { labelNames, registers: this.#registers }
    const buckets = bucketsMs.map((ms) => ms / 1_000)
    const seconds = new client.Histogram<string>({ ...common, name, help, buckets, enableExemplars: true })
    const milliseconds =
      older === undefined
        ? undefined
        : new client.Histogram<NameOf<L>>({
            ...{ ...common, name: older, help: `${help}, in milliseconds`, buckets: [...bucketsMs] },
          })
    return {
      observe(labels, ms, traceId) {
        milliseconds?.observe(labels, ms)
        const value = ms / 1_000
        if (traceId === undefined) seconds.observe({ labels, value })
        else seconds.observe({ labels, value, exemplarLabels: { trace_id: traceId } })
      },
    }
  }
}
