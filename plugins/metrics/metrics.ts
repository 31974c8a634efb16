import client, { type Registry } from 'prom-client'
import type { ErrorCategory, ErrorCode, TunnelError } from '../../protocol/codec/errors.ts'
import { type Count, Instruments, type Level, type NoLabels, type Spread } from './instruments.ts'
import { boundsWithFraction, prometheusText, withoutEnd } from './text.ts'

/** Of one registry, as prom-client gives and takes it. */
export type WorkerMetrics = object[]

/**
 * What the proxy counts, each under the name that `contract.md` gives it. A call hashes its labels (about a
 * microsecond): count in batches, once a stream or a turn, never once a frame. No user id goes into a label.
 */
export interface TunnelMetrics {
  /** `tunnel_requests_total`: streams that are over. `outcome` is `ok` or the error's code. */
  readonly requests: Count<{ kind: string; outcome: 'ok' | ErrorCode }>
  /** `tunnel_request_duration_seconds`, `tunnel_request_latency_ms`: from OPEN to the stream's end; for `http` to the head of the response. */
  readonly requestLatencyMs: Spread<{ kind: string }>
  /** `tunnel_stream_opens_total`: streams that reached their machine (`ok`), or why they did not. */
  readonly streamOpens: Count<{ kind: string; outcome: 'ok' | ErrorCode }>
  /** `tunnel_stream_open_seconds`: from OPEN until the machine has taken the stream. */
  readonly streamOpenMs: Spread<{ kind: string }>
  /** `tunnel_active_connections`: links that stand. */
  readonly activeConnections: Level<{ role: 'client' | 'agent' | 'relay' }>
  /** `tunnel_errors_total`; `countError` is the short way. */
  readonly errors: Count<{ category: ErrorCategory; code: ErrorCode }>
  /** `tunnel_queue_size`: requests that wait at the proxy for a channel. */
  readonly queueSize: Level<{ priority: 'high' | 'normal' | 'low' }>
  /** `tunnel_circuit_breaker_state`: how many circuits are in each state. */
  readonly circuits: Level<{ state: 'closed' | 'open' | 'half_open' }>
  /** `tunnel_circuit_transitions_total`: changes of circuits, by the state that they came to. */
  readonly circuitTransitions: Count<{ to: 'closed' | 'open' | 'half_open' }>
  /** `tunnel_circuit_refusals_total`: requests that an open circuit refused. */
  readonly circuitRefusals: Count<NoLabels>
  /** `tunnel_log_lines_lost_total`: lines of the log that could not be written. */
  readonly logLinesLost: Count<NoLabels>
  /** `tunnel_audit_failures_total`: how often the audit trail began to be one that cannot be written. */
  readonly auditFailures: Count<NoLabels>
  /** `tunnel_audit_lines_lost_total`: events that are in no line of the audit trail. */
  readonly auditLinesLost: Count<NoLabels>
  /** `tunnel_health_check_ok`: 1 or 0 for each check that readiness depends on. */
  readonly healthCheckOk: Level<{ check: string }>
  /** `tunnel_tls_certificate_expiry_timestamp_seconds`: when the first certificate of a file ends, as Unix time. */
  readonly certificateExpiry: Level<{ certificate: 'server' | 'agentCa' }>
  /** `tunnel_spans_total`: spans of traces that were to be kept, by what became of them. */
  readonly spans: Count<{ outcome: 'exported' | 'failed' | 'dropped' }>
  /** `tunnel_bytes_total`: payload carried; `in` is towards the machine. */
  readonly bytes: Count<{ direction: 'in' | 'out'; mode: 'sealed' | 'inspected' }>
  /** `tunnel_streams`: streams that are there now. */
  readonly streams: Level<{ kind: string; state: 'opening' | 'open' | 'suspended' }>
  /** `tunnel_stream_resumes_total`; `outcome` is `ok` or the error's code. */
  readonly streamResumes: Count<{ outcome: 'ok' | ErrorCode }>
  /** `tunnel_ssh_pool_connections`: pooled SSH connections. */
  readonly poolConnections: Level<{ state: 'connecting' | 'idle' | 'busy' }>
  /** `tunnel_ssh_connect_seconds`, `tunnel_ssh_connect_ms`: dialling, handshake and authentication of one SSH connection. */
  readonly sshConnectMs: Spread<NoLabels>
  /** `tunnel_rate_limited_total`: refusals by a limit. `tier` is `none` where no user is known yet. */
  readonly rateLimited: Count<{
    scope: 'ip' | 'penalty' | 'socket' | 'stream' | 'request' | 'link' | 'enrolment' | 'auth'
    tier: string
  }>
  /** `tunnel_auth_failures_total` */
  readonly authFailures: Count<{ code: ErrorCode }>
  /** `tunnel_heartbeat_rtt_seconds`, `tunnel_heartbeat_rtt_ms` */
  readonly heartbeatRttMs: Spread<NoLabels>
  /** `tunnel_link_send_buffer_bytes`: unsent bytes over all links. */
  readonly linkSendBufferBytes: Level<NoLabels>
  /** `tunnel_ssh_pool_wait_seconds`: how long a request waited for its place on an SSH connection. */
  readonly poolWaitMs: Spread<NoLabels>
  /** `tunnel_stream_buffer_bytes`: what streams hold in this process. */
  readonly streamBufferBytes: Level<NoLabels>
  /** `tunnel_stream_budget_ratio`: how much of their budget the user has taken who has taken most. */
  readonly streamBudgetRatio: Level<NoLabels>
  /** `tunnel_cluster_replicas`: replicas that this one knows to be there, itself among them. */
  readonly clusterReplicas: Level<NoLabels>
  /** `tunnel_cluster_routes`: machines whose agents are at other replicas alone. */
  readonly clusterRoutes: Level<NoLabels>
  /** `tunnel_relay_hops_total`: streams that another replica handed over, each time that one came. */
  readonly relayHops: Count<NoLabels>
  /** `tunnel_state_available`: 0 while Redis is away, or did not carry out the last call. */
  readonly stateAvailable: Level<NoLabels>
  /** `tunnel_event_loop_lag_seconds`: how late the event loop was over the last second, on average. */
  readonly eventLoopLagSeconds: Level<NoLabels>
  countError(error: TunnelError): void
  /** `sample` runs before each reading, for levels that are cheaper to read than to follow. It must not reject. */
  onRead(sample: () => void | Promise<void>): void
  /** Has `counter` say what somebody else counts: how many there are by now, from 0. */
  follow(counter: Count<NoLabels>, total: () => number | undefined): void
  /** The process' own metrics included, and those of other workers, in the format that is asked for. */
  read(format?: 'prometheus' | 'openmetrics'): Promise<string>
  /** What `read` tells of this process, for another worker to add up. */
  readHere(): Promise<WorkerMetrics[]>
  /** Where a plugin registers metrics of its own. */
  readonly registry: Registry
}

const LATENCY_BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000]
const RTT_BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 200, 400, 800, 1_600, 5_000, 15_000]

let processRegistry: Registry | undefined

/** CPU, memory and event loop belong to the process: one set, however many servers a process has. */
function processMetrics(): Registry {
  if (processRegistry === undefined) {
    processRegistry = createRegistry()
    client.collectDefaultMetrics({ register: processRegistry })
  }
  return processRegistry
}

/** Of the format that has exemplars; the other is made of it. */
export function createRegistry(): Registry {
  const registry = new client.Registry()
  registry.setContentType(client.Registry.OPENMETRICS_CONTENT_TYPE as never)
  return registry
}

/**
 * The metrics of one server, on the registry that is its own.
 * @param others those of other workers, whom the same port answers for
 */
export function createMetrics(
  registry: Registry,
  others?: (() => Promise<WorkerMetrics[]>) | undefined,
): TunnelMetrics {
  const make = new Instruments(registry)
  const samples: (() => void | Promise<void>)[] = []
  const errors = make.count('tunnel_errors_total', 'Errors that a peer was told', 'category', 'code')
  const textHere = async (): Promise<string> => {
    await Promise.all(samples.map((sample) => sample()))
    const [own, process] = await Promise.all([registry.metrics(), processMetrics().metrics()])
    return `${withoutEnd(own)}${process}`
  }
  const readHere = async (): Promise<WorkerMetrics[]> => {
    await Promise.all(samples.map((sample) => sample()))
    return await Promise.all([registry.getMetricsAsJSON(), processMetrics().getMetricsAsJSON()])
  }
  return {
    requests: make.count(
      'tunnel_requests_total',
      'Streams that are over, by how they ended',
      'kind',
      'outcome',
    ),
    requestLatencyMs: make.durations(
      {
        name: 'tunnel_request_duration_seconds',
        older: 'tunnel_request_latency_ms',
        help: 'From OPEN to the end of a stream, for http to the head of the response',
      },
      LATENCY_BUCKETS_MS,
      'kind',
    ),
    streamOpens: make.count(
      'tunnel_stream_opens_total',
      'Streams that reached their machine, or why they did not',
      'kind',
      'outcome',
    ),
    streamOpenMs: make.durations(
      {
        name: 'tunnel_stream_open_seconds',
        help: 'From OPEN until the machine has taken the stream',
      },
      LATENCY_BUCKETS_MS,
      'kind',
    ),
    activeConnections: make.level('tunnel_active_connections', 'Links that stand', 'role'),
    errors,
    queueSize: make.level('tunnel_queue_size', 'Requests that wait for an SSH channel', 'priority'),
    circuits: make.level('tunnel_circuit_breaker_state', 'Circuits in each state', 'state'),
    circuitTransitions: make.count(
      'tunnel_circuit_transitions_total',
      'Changes of circuits, by the state that they came to',
      'to',
    ),
    circuitRefusals: make.count('tunnel_circuit_refusals_total', 'Requests that an open circuit refused'),
    logLinesLost: make.count('tunnel_log_lines_lost_total', 'Lines of the log that could not be written'),
    auditFailures: make.count(
      'tunnel_audit_failures_total',
      'Times that the audit trail began to be one that cannot be written',
    ),
    auditLinesLost: make.count(
      'tunnel_audit_lines_lost_total',
      'Events that are in no line of the audit trail',
    ),
    healthCheckOk: make.extreme(
      'min',
      'tunnel_health_check_ok',
      'Whether a check that readiness depends on holds',
      'check',
    ),
    certificateExpiry: make.extreme(
      'min',
      'tunnel_tls_certificate_expiry_timestamp_seconds',
      'When the first certificate of a file ends, as Unix time',
      'certificate',
    ),
    spans: make.count('tunnel_spans_total', 'Spans that were to be kept, by what became of them', 'outcome'),
    bytes: make.count(
      'tunnel_bytes_total',
      'Payload carried; in is towards the machine',
      'direction',
      'mode',
    ),
    streams: make.level('tunnel_streams', 'Streams that are there', 'kind', 'state'),
    streamResumes: make.count(
      'tunnel_stream_resumes_total',
      'Attempts to resume a stream over another link',
      'outcome',
    ),
    poolConnections: make.level('tunnel_ssh_pool_connections', 'Pooled SSH connections', 'state'),
    sshConnectMs: make.durations(
      {
        name: 'tunnel_ssh_connect_seconds',
        older: 'tunnel_ssh_connect_ms',
        help: 'Dialling, handshake and authentication of an SSH connection',
      },
      LATENCY_BUCKETS_MS,
    ),
    rateLimited: make.count('tunnel_rate_limited_total', 'Refusals by a limit', 'scope', 'tier'),
    authFailures: make.count('tunnel_auth_failures_total', 'Credentials that were refused', 'code'),
    heartbeatRttMs: make.durations(
      {
        name: 'tunnel_heartbeat_rtt_seconds',
        older: 'tunnel_heartbeat_rtt_ms',
        help: 'Round trip of a heartbeat',
      },
      RTT_BUCKETS_MS,
    ),
    linkSendBufferBytes: make.level('tunnel_link_send_buffer_bytes', 'Unsent bytes over all links'),
    poolWaitMs: make.durations(
      { name: 'tunnel_ssh_pool_wait_seconds', help: 'Wait of a request for its place on an SSH connection' },
      LATENCY_BUCKETS_MS,
    ),
    streamBufferBytes: make.level('tunnel_stream_buffer_bytes', 'What streams hold in this process'),
    streamBudgetRatio: make.extreme(
      'max',
      'tunnel_stream_budget_ratio',
      'Share of streams.userBudgetBytes that is taken by the user who has taken most',
    ),
    clusterReplicas: make.extreme(
      'max',
      'tunnel_cluster_replicas',
      'Replicas that are there, this one among them',
    ),
    clusterRoutes: make.level('tunnel_cluster_routes', 'Machines whose agents are at other replicas alone'),
    relayHops: make.count('tunnel_relay_hops_total', 'Streams that another replica handed over'),
    stateAvailable: make.extreme('min', 'tunnel_state_available', 'Whether what keeps the records answers'),
    eventLoopLagSeconds: make.extreme(
      'max',
      'tunnel_event_loop_lag_seconds',
      'Lateness of the event loop, on average over the last second',
    ),
    countError(error) {
      errors.inc({ category: error.category, code: error.code })
    },
    onRead(sample) {
      samples.push(sample)
    },
    follow(counter, total) {
      let counted = 0
      samples.push(() => {
        const now = total() ?? 0
        counter.inc({}, now - counted)
        counted = now
      })
    },
    async read(format = 'prometheus') {
      const text =
        others === undefined ? await textHere() : await sumOf([...(await readHere()), ...(await others())])
      return format === 'openmetrics' ? boundsWithFraction(text) : prometheusText(text)
    },
    readHere,
    registry,
  }
}

/** Of several workers one text: sums, but for what says how it is to be taken together. Exemplars are left out. */
function sumOf(metrics: WorkerMetrics[]): Promise<string> {
  const registry = client.AggregatorRegistry.aggregate(metrics)
  registry.setContentType(client.Registry.OPENMETRICS_CONTENT_TYPE as never)
  return registry.metrics()
}
