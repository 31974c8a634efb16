import { Histogram } from './histogram.ts'

/** How long a slice is, in ms: the resolution of the history. */
const SLICE_MS = 10_000
/** The window that latency, throughput and quality are of, in ms. */
export const WINDOW_MS = 300_000
const WINDOW_SLICES = WINDOW_MS / SLICE_MS
/** Points that a history keeps: an hour in which something happened all the time. */
const MAX_POINTS = 360

/** What is known at the end of a slice, beside what was counted in it. */
export interface Gauges {
  /** Round trip of the last heartbeat, in ms; absent while no link has had one. */
  rttMs?: number
  /** Requests that wait for their turn. */
  queued: number
}

/** Ten seconds of the past, for a chart. */
export interface HistoryPoint extends Gauges {
  /** When it began, in ms of `Date.now()`. */
  atMs: number
  answered: number
  failed: number
  /** Bytes of frames, both directions of them. */
  sentBytes: number
  receivedBytes: number
  /** Times that the link was lost. */
  losses: number
  latency: { averageMs: number; p50: number; p95: number; p99: number }
}

export interface Counted {
  answered: number
  failed: number
  sentBytes: number
  receivedBytes: number
  losses: number
}

interface Slice extends Counted {
  index: number
  atMs: number
  latencies: Histogram
}

const NOTHING: Counted = { answered: 0, failed: 0, sentBytes: 0, receivedBytes: 0, losses: 0 }

export function latencyOf(histogram: Histogram): HistoryPoint['latency'] {
  return {
    averageMs: histogram.averageMs,
    p50: histogram.quantile(0.5),
    p95: histogram.quantile(0.95),
    p99: histogram.quantile(0.99),
  }
}

/**
 * The past in slices of time: those of the window with their histograms, older ones as points of the history. Nothing runs:
 * a slice ends when something happens after it. 70 KB at most.
 */
export class Timeline {
  readonly #gauges: () => Gauges
  readonly #wall: () => number
  /** By the slice's number, modulo their count. */
  readonly #slices: Slice[] = []
  readonly #points: HistoryPoint[] = []
  #current: Slice | undefined

  /** @param wall as `Date.now` */
  constructor(gauges: () => Gauges, wall: () => number) {
    this.#gauges = gauges
    this.#wall = wall
  }

  /** The present slice, to count in. */
  at(nowMs: number): Slice {
    const index = Math.floor(nowMs / SLICE_MS)
    if (this.#current?.index === index) return this.#current
    if (this.#current !== undefined) this.#keep(this.#pointOf(this.#current))
    const place = index % WINDOW_SLICES
    const latencies = this.#slices[place]?.latencies ?? new Histogram()
    latencies.clear()
    const current = { ...NOTHING, index, atMs: this.#wall() - (nowMs % SLICE_MS), latencies }
    this.#slices[place] = current
    this.#current = current
    return current
  }

  /** What was counted in the window that ends now. */
  window(nowMs: number): Counted & { latencies: Histogram } {
    const first = this.at(nowMs).index - WINDOW_SLICES + 1
    const sum = { ...NOTHING, latencies: new Histogram() }
    for (const slice of Object.values(this.#slices)) {
      if (slice.index < first) continue
      sum.latencies.add(slice.latencies)
      for (const name of Object.keys(NOTHING) as (keyof Counted)[]) sum[name] += slice[name]
    }
    return sum
  }

  /** The oldest first, the present one last; slices in which nothing happened are not there. */
  history(nowMs: number): HistoryPoint[] {
    return [...this.#points, this.#pointOf(this.at(nowMs))]
  }

  #keep(point: HistoryPoint): void {
    if (this.#points.length === MAX_POINTS) this.#points.shift()
    this.#points.push(point)
  }

  #pointOf({ index: _, latencies, ...counted }: Slice): HistoryPoint {
    return { ...counted, ...this.#gauges(), latency: latencyOf(latencies) }
  }
}
