import type {
  CompressionOptions,
  HeartbeatOptions,
  LimitsOptions,
  StreamsOptions,
} from '../../protocol/options.ts'

export interface WebSocketPluginOptions {
  heartbeat: HeartbeatOptions
  streams: StreamsOptions
  limits: LimitsOptions
  compression: CompressionOptions
  /** How long the proxy waits for its peers to move elsewhere, in ms. */
  shutdown: { serverMs: number }
}
