import type { ErrorCategory, ErrorCode } from '../../protocol/codec/errors.ts'
import type { Instruments } from './instruments.ts'

const LATENCY_BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000]
const RTT_BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 200, 400, 800, 1_600, 5_000, 15_000]

/** `ok`, or the code of the error. */
type Outcome = 'ok' | ErrorCode
type CircuitState = 'closed' | 'open' | 'half_open'
type LimitScope = 'ip' | 'penalty' | 'socket' | 'stream' | 'request' | 'link' | 'enrolment' | 'auth'

/**
 * What the proxy counts and measures, each under the name that `contract.md` gives it. A call hashes its labels (about a
 * microsecond): count in batches, once a stream or a turn, never once a frame. No user id goes into a label.
 */
export type Catalogue = ReturnType<typeof makeCatalogue>

export function makeCatalogue(make: Instruments) {
  return {
    requests: make.count<{ kind: string; outcome: Outcome }>(
      'tunnel_requests_total',
      'Streams that are over, by how they ended',
      'kind',
      'outcome',
    ),
    requestLatencyMs: make.durations<{ kind: string }>(
      {
        name: 'tunnel_request_duration_seconds',
        older: 'tunnel_request_latency_ms',
        help: 'From OPEN to the end of a stream, for http to the head of the response',
      },
      LATENCY_BUCKETS_MS,
      'kind',
    ),
    streamOpens: make.count<{ kind: string; outcome: Outcome }>(
      'tunnel_stream_opens_total',
      'Streams that reached their machine, or why they did not',
      'kind',
      'outcome',
    ),
    streamOpenMs: make.durations<{ kind: string }>(
      { name: 'tunnel_stream_open_seconds', help: 'From OPEN until the machine has taken the stream' },
      LATENCY_BUCKETS_MS,
      'kind',
    ),
    activeConnections: make.level<{ role: 'client' | 'agent' | 'relay' }>(
      'tunnel_active_connections',
      'Links that stand',
      'role',
    ),
    /** `countError` is the short way. */
    errors: make.count<{ category: ErrorCategory; code: ErrorCode }>(
      'tunnel_errors_total',
      'Errors that a peer was told',
      'category',
      'code',
    ),
    queueSize: make.level<{ priority: 'high' | 'normal' | 'low' }>(
      'tunnel_queue_size',
      'Requests that wait for an SSH channel',
      'priority',
    ),
    circuits: make.level<{ state: CircuitState }>(
      'tunnel_circuit_breaker_state',
      'Circuits in each state',
      'state',
    ),
    circuitTransitions: make.count<{ to: CircuitState }>(
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
    /** 1 or 0. */
    healthCheckOk: make.extreme<{ check: string }>(
      'min',
      'tunnel_health_check_ok',
      'Whether a check that readiness depends on holds',
      'check',
    ),
    certificateExpiry: make.extreme<{ certificate: 'server' | 'agentCa' }>(
      'min',
      'tunnel_tls_certificate_expiry_timestamp_seconds',
      'When the first certificate of a file ends, as Unix time',
      'certificate',
    ),
    spans: make.count<{ outcome: 'exported' | 'failed' | 'dropped' }>(
      'tunnel_spans_total',
      'Spans that were to be kept, by what became of them',
      'outcome',
    ),
    bytes: make.count<{ direction: 'in' | 'out'; mode: 'sealed' | 'inspected' }>(
      'tunnel_bytes_total',
      'Payload carried; in is towards the machine',
      'direction',
      'mode',
    ),
    streams: make.level<{ kind: string; state: 'opening' | 'open' | 'suspended' }>(
      'tunnel_streams',
      'Streams that are there',
      'kind',
      'state',
    ),
    streamResumes: make.count<{ outcome: Outcome }>(
      'tunnel_stream_resumes_total',
      'Attempts to resume a stream over another link',
      'outcome',
    ),
    poolConnections: make.level<{ state: 'connecting' | 'idle' | 'busy' }>(
      'tunnel_ssh_pool_connections',
      'Pooled SSH connections',
      'state',
    ),
    sshConnectMs: make.durations(
      {
        name: 'tunnel_ssh_connect_seconds',
        older: 'tunnel_ssh_connect_ms',
        help: 'Dialling, handshake and authentication of an SSH connection',
      },
      LATENCY_BUCKETS_MS,
    ),
    /** `tier` is `none` where no user is known yet. */
    rateLimited: make.count<{ scope: LimitScope; tier: string }>(
      'tunnel_rate_limited_total',
      'Refusals by a limit',
      'scope',
      'tier',
    ),
    authFailures: make.count<{ code: ErrorCode }>(
      'tunnel_auth_failures_total',
      'Credentials that were refused',
      'code',
    ),
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
    /** Each time that a stream came from another replica. */
    relayHops: make.count('tunnel_relay_hops_total', 'Streams that another replica handed over'),
    /** 0 while Redis is away, or did not carry out the last call. */
    stateAvailable: make.extreme('min', 'tunnel_state_available', 'Whether what keeps the records answers'),
    eventLoopLagSeconds: make.extreme(
      'max',
      'tunnel_event_loop_lag_seconds',
      'Lateness of the event loop, on average over the last second',
    ),
  }
}
