import { type Static, Type } from 'typebox'
import { BackoffOptions } from '../dial/options.ts'
import { CompressionOptions, HeartbeatOptions, LimitsOptions, StreamsOptions } from '../protocol/options.ts'

const strict = { additionalProperties: false }

/** Requests that wait in the client because the link's streams are all in use. */
export const QueueOptions = Type.Object(
  {
    maxRequests: Type.Integer({
      description: 'Requests that may wait in the client; more are refused with QUEUE_FULL',
      default: 1_000,
      minimum: 1,
      maximum: 1_000_000,
    }),
    backpressureAt: Type.Number({
      description: "The share of `queue.maxRequests` at which 'backpressure' is emitted",
      default: 0.8,
      minimum: 0,
      maximum: 1,
    }),
  },
  strict,
)
export type QueueOptions = Static<typeof QueueOptions>

/** The client's part of the `request` section; the proxy's knows more. */
export const RequestOptions = Type.Object(
  {
    timeoutMs: Type.Integer({
      description: 'For the head of a response; its body may take for ever',
      default: 30_000,
      minimum: 1,
      maximum: 86_400_000,
    }),
  },
  strict,
)
export type RequestOptions = Static<typeof RequestOptions>

/** How long a graceful end may take before what is left is cut. */
export const ShutdownOptions = Type.Object(
  {
    serverMs: Type.Integer({
      description: "The proxy's drain, before what is left is cut",
      default: 30_000,
      minimum: 0,
      maximum: 3_600_000,
    }),
    clientMs: Type.Integer({
      description: "A client's `disconnect()`: how long what is under way may take to end",
      default: 10_000,
      minimum: 0,
      maximum: 3_600_000,
    }),
  },
  strict,
)
export type ShutdownOptions = Static<typeof ShutdownOptions>

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
    shutdown: ShutdownOptions,
  },
  strict,
)
export type ClientSettings = Static<typeof ClientSettings>

export type ClientOverrides = { [Section in keyof ClientSettings]?: Partial<ClientSettings[Section]> }
