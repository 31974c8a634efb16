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
  /** Origins whose pages may connect beside the proxy's own, such as `https://tunnel.example.com`. */
  origins: readonly string[]
  /** How long the proxy waits for its peers to move elsewhere, in ms. */
  shutdown: { serverMs: number }
  /** Over how long those are spread that are asked to go to another replica, in ms. */
  spreadMs: number
  /** There are other replicas, to which agents may have links besides. */
  isOneOfSeveral: boolean
}
