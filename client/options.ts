import { type Static, Type } from 'typebox'
import { BackoffOptions } from '../dial/options.ts'
import {
  CompressionOptions,
  HeartbeatOptions,
  LimitsOptions,
  NetworkOptions,
  StreamsOptions,
  TlsOptions,
} from '../protocol/options.ts'

const strict = { additionalProperties: false }

/** Requests that wait in the client: for a place on the link, or for a link. */
export const QueueOptions = Type.Object(
  {
    maxRequests: Type.Integer({
      description:
        'Requests that may wait in the client; more are refused with QUEUE_FULL, or `queue.whenFull`',
      default: 1_000,
      minimum: 1,
      maximum: 1_000_000,
    }),
    maxBytes: Type.Integer({
      description:
        'Memory that the bodies of waiting requests may take together; beyond it as for `queue.maxRequests`',
      default: 67_108_864,
      minimum: 1,
      maximum: 17_179_869_184,
    }),
    backpressureAt: Type.Number({
      description:
        "The share of `queue.maxRequests`, or of `queue.maxBytes`, at which 'backpressure' is emitted",
      default: 0.8,
      minimum: 0,
      maximum: 1,
    }),
    drainAt: Type.Number({
      description: "The share of both below which 'drain' follows; less than `queue.backpressureAt`",
      default: 0.4,
      minimum: 0,
      maximum: 1,
    }),
    whenFull: Type.Union([Type.Literal('refuse'), Type.Literal('shed')], {
      description:
        '`refuse` a request that finds the queue full, or `shed` what waits there with a lower priority, the lowest and oldest first',
      default: 'refuse',
    }),
    persist: Type.Union([Type.Literal('high'), Type.Literal('all'), Type.Literal('none')], {
      description:
        'Which requests of `forwardRequest` and `enqueue` are on disk before they are accepted, and sent after a crash: those of priority `high`, `all` or `none`',
      default: 'high',
    }),
    dir: Type.String({
      description:
        'The folder they are kept in, used by one program at a time; empty = nothing is kept. In a browser the name of a database',
      default: '',
    }),
  },
  strict,
)
export type QueueOptions = Static<typeof QueueOptions>

/** The client's part of the `request` section; the proxy's knows more. */
const RequestOptions = Type.Object(
  {
    timeoutMs: Type.Integer({
      description: 'Time for the head of a response; its body may take any time',
      default: 30_000,
      minimum: 1,
      maximum: 86_400_000,
    }),
  },
  strict,
)

/** How long a graceful end may take before what is left is cut. */
const ShutdownOptions = Type.Object(
  {
    serverMs: Type.Integer({
      description: "How long the proxy's drain may take before what is left is cut",
      default: 30_000,
      minimum: 0,
      maximum: 3_600_000,
    }),
    clientMs: Type.Integer({
      description: "How long a client's `disconnect()` waits for what is under way",
      default: 10_000,
      minimum: 0,
      maximum: 3_600_000,
    }),
  },
  strict,
)

/** The sections of the configuration that client and agent follow; a profile's other sections are the server's. */
export const ClientSettings = Type.Object(
  {
    heartbeat: HeartbeatOptions,
    backoff: BackoffOptions,
    queue: QueueOptions,
    request: RequestOptions,
    streams: StreamsOptions,
    compression: CompressionOptions,
    limits: LimitsOptions,
    network: NetworkOptions,
    tls: TlsOptions,
    shutdown: ShutdownOptions,
  },
  strict,
)
export type ClientSettings = Static<typeof ClientSettings>

export type ClientOverrides = { [Section in keyof ClientSettings]?: Partial<ClientSettings[Section]> }
