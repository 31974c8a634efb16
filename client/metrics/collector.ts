import type { Clock } from '../../protocol/clock.ts'
import type { ErrorCategory, TunnelError } from '../../protocol/codec/errors.ts'
import type { Priority } from '../../protocol/codec/heads.ts'
import type { Traffic } from '../../protocol/link/traffic.ts'
import { type Quality, qualityOf } from './quality.ts'
import { type HistoryPoint, latencyOf, Timeline, WINDOW_MS } from './timeline.ts'

export interface MetricsSnapshot {
  /** Time to the response head of the requests of the last five minutes, in ms; zeros without one. Right to 2 %. */
  latency: { average: number; p50: number; p95: number; p99: number }
  /** Since the client was made: requests that ended, and those of them that failed. */
  requests: number
  failures: number
  /** Requests that their caller called off; they count nowhere else. */
  aborted: number
  /** All latencies since the client was made, in ms. */
  latencySumMs: number
  /** Share of the requests that were answered, whatever the HTTP status; 1 before the first. */
  successRate: number
  /** Of the last five minutes, per second. Bytes are those of frames, before compression and TLS. */
  throughput: { requests: number; sentBytes: number; receivedBytes: number }
  bytes: Traffic
  reconnects: number
  /** Streams that went on over another link. */
  resumes: number
  /** Since the client was first connected, in ms; 0 while it is not. */
  uptimeMs: number
  /** Round trip of the last heartbeat, and how much it varies (RFC 3550, section 6.4.1), in ms; absent before the first. */
  heartbeat?: { rttMs: number; jitterMs: number }
  /** Requests that wait for their turn. */
  queue: Record<Priority, number>
  errors: Record<ErrorCategory, number>
  quality: Quality
}

/** The smoothing of RFC 3550. */
const JITTER_SHARE = 1 / 16
const DEFAULT_NOTICE_MS = 1_000

/** Counts what a client does, on every platform; a fixed amount of memory, and no timer but for subscribers. */
export class ClientMetrics {
  readonly #clock: Clock
  /** Of all links together, which count here. */
  readonly traffic: Traffic = { sentBytes: 0, receivedBytes: 0 }
  #queue: () => Record<Priority, number> = () => ({ high: 0, normal: 0, low: 0 })
  readonly #bornAtMs: number
  readonly #timeline: Timeline
  readonly #counts = { answered: 0, failed: 0, aborted: 0, reconnects: 0, resumes: 0 }
  /** What of the traffic is in a slice already. */
  readonly #sliced: Traffic = { sentBytes: 0, receivedBytes: 0 }
  #latencySumMs = 0
  #connectedAtMs: number | undefined
  #lostAtMs = Number.NEGATIVE_INFINITY
  #online = false
  #rttMs: number | undefined
  #jitterMs = 0
  readonly #subscribers = new Set<() => void>()
  readonly #errors: Record<ErrorCategory, number> = {
    network: 0,
    authentication: 0,
    configuration: 0,
    server: 0,
    protocol: 0,
  }

  /** @param wall the time of day, for the history */
  constructor(clock: Clock, wall: () => number = Date.now) {
    this.#clock = clock
    this.#bornAtMs = clock.now()
    this.#timeline = new Timeline(() => {
      const { high, normal, low } = this.#queue()
      return { queued: high + normal + low, ...(this.#rttMs !== undefined && { rttMs: this.#rttMs }) }
    }, wall)
  }

  /** Whoever is asked how many requests wait. */
  watchQueue(queue: () => Record<Priority, number>): void {
    this.#queue = queue
  }

  /** A request has its response head. */
  answered(latencyMs: number): void {
    this.#counts.answered++
    this.#latencySumMs += latencyMs
    const slice = this.#slice()
    slice.answered++
    slice.latencies.record(latencyMs)
    this.#changed()
  }

  /** A request ended without one. */
  failed(error: TunnelError): void {
    if (error.code === 'ABORTED') this.#counts.aborted++
    else {
      this.#counts.failed++
      this.#slice().failed++
    }
    this.errored(error)
  }

  /** An error that is no request's, such as a lost link's. */
  errored(error: TunnelError): void {
    if (error.code !== 'ABORTED') this.#errors[error.category]++
    this.#changed()
  }

  connected(): void {
    if (this.#connectedAtMs === undefined) this.#connectedAtMs = this.#clock.now()
    else this.#counts.reconnects++
    this.#online = true
    this.#changed()
  }

  lost(): void {
    this.#online = false
    this.#lostAtMs = this.#clock.now()
    this.#slice().losses++
    this.#changed()
  }

  disconnected(): void {
    this.#online = false
    this.#connectedAtMs = undefined
    this.#changed()
  }

  /** A stream goes on over another link. */
  resumed(): void {
    this.#counts.resumes++
    this.#changed()
  }

  /** A heartbeat was answered. */
  rtt(rttMs: number): void {
    if (this.#rttMs !== undefined)
      this.#jitterMs += (Math.abs(rttMs - this.#rttMs) - this.#jitterMs) * JITTER_SHARE
    this.#rttMs = rttMs
    this.#slice()
    this.#changed()
  }

  snapshot(): MetricsSnapshot {
    this.#slice()
    const now = this.#clock.now()
    const { answered, failed, aborted, reconnects, resumes } = this.#counts
    const window = this.#timeline.window(now)
    const { averageMs, ...percentiles } = latencyOf(window.latencies)
    const seconds = Math.max(1_000, Math.min(WINDOW_MS, now - this.#bornAtMs)) / 1_000
    return {
      latency: { average: averageMs, ...percentiles },
      requests: answered + failed,
      failures: failed,
      aborted,
      latencySumMs: this.#latencySumMs,
      successRate: answered + failed === 0 ? 1 : answered / (answered + failed),
      throughput: {
        requests: (window.answered + window.failed) / seconds,
        sentBytes: window.sentBytes / seconds,
        receivedBytes: window.receivedBytes / seconds,
      },
      bytes: { ...this.traffic },
      reconnects,
      resumes,
      uptimeMs: this.#connectedAtMs === undefined ? 0 : now - this.#connectedAtMs,
      ...(this.#rttMs !== undefined && { heartbeat: { rttMs: this.#rttMs, jitterMs: this.#jitterMs } }),
      queue: { ...this.#queue() },
      errors: { ...this.#errors },
      quality: qualityOf({
        online: this.#online,
        rttMs: this.#rttMs ?? 0,
        jitterMs: this.#jitterMs,
        answered: window.answered,
        failed: window.failed,
        sinceLossMs: now - this.#lostAtMs,
      }),
    }
  }

  /** The last hour in slices of ten seconds, the oldest first; those in which nothing happened are not there. */
  history(): HistoryPoint[] {
    this.#slice()
    return this.#timeline.history(this.#clock.now())
  }

  /** For `JSON.stringify`. */
  toJSON(): MetricsSnapshot & { history: HistoryPoint[] } {
    return { ...this.snapshot(), history: this.history() }
  }

  /**
   * Calls `listener` with what is new, and not more often than `everyMs`; never while nothing changes. Returns what ends it.
   * @param everyMs default 1,000
   */
  subscribe(listener: (snapshot: MetricsSnapshot) => void, everyMs = DEFAULT_NOTICE_MS): () => void {
    let timer: unknown
    const notice = (): void => {
      timer ??= this.#clock.setTimer(() => {
        timer = undefined
        listener(this.snapshot())
      }, everyMs)
    }
    this.#subscribers.add(notice)
    return () => {
      this.#subscribers.delete(notice)
      this.#clock.clearTimer(timer)
    }
  }

  #changed(): void {
    for (const notice of this.#subscribers) notice()
  }

  /** The present slice, with the bytes since the last look. */
  #slice(): ReturnType<Timeline['at']> {
    const slice = this.#timeline.at(this.#clock.now())
    for (const name of ['sentBytes', 'receivedBytes'] as const) {
      slice[name] += this.traffic[name] - this.#sliced[name]
      this.#sliced[name] = this.traffic[name]
    }
    return slice
  }
}
