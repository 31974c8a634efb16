import { type Static, Type } from 'typebox'
import { QueueOptions, RequestOptions, ShutdownOptions } from '../client/options.ts'
import { BackoffOptions } from '../dial/options.ts'
import { CompressionOptions, HeartbeatOptions, LimitsOptions, StreamsOptions } from '../protocol/options.ts'

/** What client and agent have settings for. */
export const ClientSettingsSchema = Type.Object(
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
  { additionalProperties: false },
)
export type ClientSettings = Static<typeof ClientSettingsSchema>
