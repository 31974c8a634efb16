import type { Clock } from '../protocol/clock.ts'
import type { ErrorCategory, TunnelError } from '../protocol/codec/errors.ts'

/** How good the link is, as a person would say it. */
export type Quality = 'offline' | 'poor' | 'fair' | 'good'

export interface MetricsSnapshot {
  /** Time to the response head of the last requests, in ms; zeros before the first. */
  latency: { average: number; p50: number; p95: number; p99: number }
  requests: number
  /** Share of all requests that were answered, whatever the HTTP status; 1 before the first. */
  successRate: number
  reconnects: number
  /** Since the client was first connected, in ms; 0 while it is not. */
  uptimeMs: number
  errors: Record<ErrorCategory, number>
  quality: Quality
}

/** How many of the last requests the percentiles are of. */
const KEPT_LATENCIES = 1_024
/** A link that was lost within this time is a poor one, in ms. */
const RECENT_LOSS_MS = 30_000
const GOOD_RTT_MS = 150
const FAIR_RTT_MS = 500

/** Counts what the client does; a fixed amount of memory. */
export class MetricsCollector {
  readonly #clock: Clock
  readonly #rtt: () => number | undefined
  readonly #latencies = new Float64Array(KEPT_LATENCIES)
  #recorded = 0
  #requests = 0
  #failures = 0
  #reconnects = 0
  #connectedAtMs: number | undefined
  #lostAtMs: number | undefined
  #online = false
  readonly #errors: Record<ErrorCategory, number> = {
    network: 0,
    authentication: 0,
    configuration: 0,
    server: 0,
    protocol: 0,
  }

  /** @param rtt the link's last measured round trip, in ms */
  constructor(clock: Clock, rtt: () => number | undefined = () => undefined) {
    this.#clock = clock
    this.#rtt = rtt
  }

  answered(latencyMs: number): void {
    this.#requests++
    this.#latencies[this.#recorded++ % KEPT_LATENCIES] = latencyMs
  }

  failed(error: TunnelError): void {
    this.#requests++
    this.#failures++
    this.errored(error)
  }

  /** An error that is no request's, such as a lost link's. */
  errored(error: TunnelError): void {
    this.#errors[error.category]++
  }

  connected(): void {
    if (this.#connectedAtMs === undefined) this.#connectedAtMs = this.#clock.now()
    else this.#reconnects++
    this.#online = true
  }

  lost(): void {
    this.#online = false
    this.#lostAtMs = this.#clock.now()
  }

  disconnected(): void {
    this.#online = false
    this.#connectedAtMs = undefined
  }

  snapshot(): MetricsSnapshot {
    const kept = this.#latencies.slice(0, Math.min(this.#recorded, KEPT_LATENCIES)).sort()
    const percentile = (share: number) => kept[Math.max(0, Math.ceil(share * kept.length) - 1)] ?? 0
    const sum = kept.reduce((total, latencyMs) => total + latencyMs, 0)
    return {
      latency: {
        average: kept.length === 0 ? 0 : sum / kept.length,
        p50: percentile(0.5),
        p95: percentile(0.95),
        p99: percentile(0.99),
      },
      requests: this.#requests,
      successRate: this.#requests === 0 ? 1 : 1 - this.#failures / this.#requests,
      reconnects: this.#reconnects,
      uptimeMs: this.#connectedAtMs === undefined ? 0 : this.#clock.now() - this.#connectedAtMs,
      errors: { ...this.#errors },
      quality: this.#quality(),
    }
  }

  #quality(): Quality {
    if (!this.#online) return 'offline'
    if (this.#lostAtMs !== undefined && this.#clock.now() - this.#lostAtMs < RECENT_LOSS_MS) return 'poor'
    const rttMs = this.#rtt() ?? 0
    if (rttMs > FAIR_RTT_MS) return 'poor'
    return rttMs > GOOD_RTT_MS ? 'fair' : 'good'
  }
}
