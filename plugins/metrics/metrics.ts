import client, { type Registry } from 'prom-client'
import type { ErrorCategory, ErrorCode, TunnelError } from '../../protocol/codec/errors.ts'
import { withSeconds } from './text.ts'

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
  observe(labels: Labels, value: number): void
}

export type NoLabels = Record<never, never>

/**
 * What the proxy counts, each under the name that `contract.md` gives it. A call hashes its labels (about a
 * microsecond): count in batches, once a stream or a turn, never once a frame. No user id goes into a label.
 */
export interface TunnelMetrics {
  /** `tunnel_requests_total`: streams that are over. `outcome` is `ok` or the error's code. */
  readonly requests: Count<{ kind: string; outcome: 'ok' | ErrorCode }>
  /** `tunnel_request_latency_ms`: from OPEN to the stream's end; for `http` to the head of the response. */
  readonly requestLatencyMs: Spread<{ kind: string }>
  /** `tunnel_active_connections`: links that stand. */
  readonly activeConnections: Level<{ role: 'client' | 'agent' | 'relay' }>
  /** `tunnel_errors_total`; `countError` is the short way. */
  readonly errors: Count<{ category: ErrorCategory; code: ErrorCode }>
  /** `tunnel_queue_size`: requests that wait at the proxy for a channel. */
  readonly queueSize: Level<{ priority: 'high' | 'normal' | 'low' }>
  /** `tunnel_circuit_breaker_state`: how many circuits are in each state. */
  readonly circuits: Level<{ state: 'closed' | 'open' | 'half_open' }>
  /** `tunnel_bytes_total`: payload carried; `in` is towards the machine. */
  readonly bytes: Count<{ direction: 'in' | 'out'; mode: 'sealed' | 'inspected' }>
  /** `tunnel_streams`: streams that are there now. */
  readonly streams: Level<{ kind: string; state: 'opening' | 'open' | 'suspended' }>
  /** `tunnel_stream_resumes_total`; `outcome` is `ok` or the error's code. */
  readonly streamResumes: Count<{ outcome: 'ok' | ErrorCode }>
  /** `tunnel_ssh_pool_connections`: pooled SSH connections. */
  readonly poolConnections: Level<{ state: 'connecting' | 'idle' | 'busy' }>
  /** `tunnel_ssh_connect_ms`: dialling, handshake and authentication of one SSH connection. */
  readonly sshConnectMs: Spread<NoLabels>
  /** `tunnel_rate_limited_total`: refusals by a limit. `tier` is `none` where no user is known yet. */
  readonly rateLimited: Count<{
    scope: 'ip' | 'socket' | 'stream' | 'link' | 'enrolment' | 'auth'
    tier: string
  }>
  /** `tunnel_auth_failures_total` */
  readonly authFailures: Count<{ code: ErrorCode }>
  /** `tunnel_heartbeat_rtt_ms` */
  readonly heartbeatRttMs: Spread<NoLabels>
  /** `tunnel_link_send_buffer_bytes`: unsent bytes over all links. */
  readonly linkSendBufferBytes: Level<NoLabels>
  /** `tunnel_event_loop_lag_seconds`: how late the event loop was over the last second, on average. */
  readonly eventLoopLagSeconds: Level<NoLabels>
  countError(error: TunnelError): void
  /** `sample` runs before each reading, for levels that are cheaper to read than to follow. */
  onRead(sample: () => void): void
  /** Prometheus' text format, the process' own metrics included; what is in milliseconds is in seconds too. */
  read(): Promise<string>
  readonly contentType: string
  /** Where a plugin registers metrics of its own. */
  readonly registry: Registry
}

const LATENCY_BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000]
const RTT_BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 200, 400, 800, 1_600, 5_000, 15_000]

let processRegistry: Registry | undefined

/** CPU, memory and event loop belong to the process: one set, however many servers a process has. */
function processMetrics(): Registry {
  if (processRegistry === undefined) {
    processRegistry = new client.Registry()
    client.collectDefaultMetrics({ register: processRegistry })
  }
  return processRegistry
}

/** The metrics of one server, on the registry that is its own. */
export function createMetrics(registry: Registry): TunnelMetrics {
  const registers = [registry]
  const count = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new client.Counter<L>({ name, help, labelNames, registers })
  const level = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new client.Gauge<L>({ name, help, labelNames, registers })
  const spread = <L extends string>(name: string, help: string, buckets: number[], ...labelNames: L[]) =>
    new client.Histogram<L>({ name, help, buckets, labelNames, registers })

  const samples: (() => void)[] = []
  const errors = count('tunnel_errors_total', 'Errors sent to a peer', 'category', 'code')
  return {
    requests: count('tunnel_requests_total', 'Streams that are over', 'kind', 'outcome'),
    requestLatencyMs: spread('tunnel_request_latency_ms', 'Time of a request', LATENCY_BUCKETS_MS, 'kind'),
    activeConnections: level('tunnel_active_connections', 'Links that stand', 'role'),
    errors,
    queueSize: level('tunnel_queue_size', 'Requests that wait for a channel', 'priority'),
    circuits: level('tunnel_circuit_breaker_state', 'Circuits in each state', 'state'),
    bytes: count('tunnel_bytes_total', 'Payload carried', 'direction', 'mode'),
    streams: level('tunnel_streams', 'Streams that are there', 'kind', 'state'),
    streamResumes: count('tunnel_stream_resumes_total', 'Streams moved to another link', 'outcome'),
    poolConnections: level('tunnel_ssh_pool_connections', 'Pooled SSH connections', 'state'),
    sshConnectMs: spread(
      'tunnel_ssh_connect_ms',
      'Time until an SSH connection is ready',
      LATENCY_BUCKETS_MS,
    ),
    rateLimited: count('tunnel_rate_limited_total', 'Refusals by a limit', 'scope', 'tier'),
    authFailures: count('tunnel_auth_failures_total', 'Refused credentials', 'code'),
    heartbeatRttMs: spread('tunnel_heartbeat_rtt_ms', 'Round trip of a heartbeat', RTT_BUCKETS_MS),
    linkSendBufferBytes: level('tunnel_link_send_buffer_bytes', 'Unsent bytes over all links'),
    eventLoopLagSeconds: level(
      'tunnel_event_loop_lag_seconds',
      'Lateness of the event loop, average of a second',
    ),
    countError(error) {
      errors.inc({ category: error.category, code: error.code })
    },
    onRead(sample) {
      samples.push(sample)
    },
    async read() {
      for (const sample of samples) sample()
      const [own, process] = await Promise.all([registry.metrics(), processMetrics().metrics()])
      return withSeconds(`${own}\n${process}`)
    },
    contentType: registry.contentType,
    registry,
  }
}
