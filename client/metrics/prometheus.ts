import { ClientMetrics, type MetricsSnapshot } from './collector.ts'

type Labels = Record<string, string>
type Samples = readonly (readonly [labels: Labels, value: number, suffix?: string])[]

const text = (labels: Labels): string => {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${value}"`)
  return parts.length === 0 ? '' : `{${parts.join(',')}}`
}

const by = (label: string, values: Record<string, number>): Samples =>
  Object.entries(values).map(([name, value]) => [{ [label]: name }, value])

/** The text format of Prometheus, version 0.0.4. Labels are names of this client's own, which need no escapes. */
function prometheusText(now: MetricsSnapshot): string {
  const { latency, heartbeat, bytes } = now
  const answered = now.requests - now.failures
  const metrics: [name: string, type: string, help: string, samples: Samples][] = [
    [
      'requests_total',
      'counter',
      'Requests that ended',
      by('outcome', { ok: answered, failed: now.failures, aborted: now.aborted }),
    ],
    [
      'request_latency_ms',
      'summary',
      'Time to the response head; quantiles of five minutes',
      [
        [{ quantile: '0.5' }, latency.p50],
        [{ quantile: '0.95' }, latency.p95],
        [{ quantile: '0.99' }, latency.p99],
        [{}, now.latencySumMs, '_sum'],
        [{}, answered, '_count'],
      ],
    ],
    ['errors_total', 'counter', 'Errors, lost links among them', by('category', now.errors)],
    ['queue_size', 'gauge', 'Requests that wait for their turn', by('priority', now.queue)],
    [
      'bytes_total',
      'counter',
      'Bytes of frames',
      by('direction', { sent: bytes.sentBytes, received: bytes.receivedBytes }),
    ],
    ['reconnects_total', 'counter', 'Links after the first', [[{}, now.reconnects]]],
    ['stream_resumes_total', 'counter', 'Streams that went on over another link', [[{}, now.resumes]]],
    ['uptime_seconds', 'gauge', 'Since the client was connected', [[{}, now.uptimeMs / 1_000]]],
    [
      'heartbeat_rtt_ms',
      'gauge',
      'Round trip of the last heartbeat',
      heartbeat ? [[{}, heartbeat.rttMs]] : [],
    ],
    [
      'heartbeat_jitter_ms',
      'gauge',
      'How much it varies (RFC 3550)',
      heartbeat ? [[{}, heartbeat.jitterMs]] : [],
    ],
    ['quality', 'gauge', 'How good the link is: 1 at its name', [[{ quality: now.quality }, 1]]],
  ]
  return metrics
    .filter(([, , , samples]) => samples.length > 0)
    .map(([name, type, help, samples]) => {
      const full = `tunnel_client_${name}`
      const lines = samples.map(
        ([labels, value, suffix = '']) => `${full}${suffix}${text(labels)} ${value}\n`,
      )
      return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.join('')}`
    })
    .join('')
}

/** With what a program tells its Prometheus; pages are asked by none, and do without. */
export class MetricsCollector extends ClientMetrics {
  /** The text format that Prometheus reads, version 0.0.4. */
  toPrometheus(): string {
    return prometheusText(this.snapshot())
  }
}
