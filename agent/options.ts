import type { BackoffOptions } from '../dial/options.ts'
import type { TokenProvider } from '../dial/token.ts'
import type { Lookup } from '../protocol/node/names.ts'
import type {
  CompressionOptions,
  HeartbeatOptions,
  LimitsOptions,
  NetworkOptions,
  StreamsOptions,
  TlsOptions,
} from '../protocol/options.ts'

export type AgentLog = (
  level: 'error' | 'warn' | 'info' | 'debug',
  message: string,
  context?: Record<string, unknown>,
) => void

/** The sections of a profile that an agent follows. */
export interface AgentSettings {
  /** How long a request to the proxy's routes may take, in ms. */
  request: { timeoutMs: number }
  backoff: BackoffOptions
  compression: CompressionOptions
  heartbeat: HeartbeatOptions
  limits: LimitsOptions
  network: NetworkOptions
  tls: TlsOptions
  streams: StreamsOptions
}

export interface AgentOptions {
  /** Base addresses of the proxy's replicas: the agent is on line at each. */
  urls: readonly string[]
  /** The name under which this machine is reached, in its owner's namespace. */
  machine: string
  token: TokenProvider
  /** The SSH server, `host:port`. @default '127.0.0.1:22' */
  ssh?: string
  /** What else may be dialled, `host:port`. @default none */
  allow?: readonly string[]
  /** The account that inspected mode signs in to. @default whoever runs this */
  sshUser?: string
  /** Adds the user's public key to authorized_keys, restricted, once. @default false */
  authorize?: boolean
  /**
   * Dials the SSH server from 127.0.0.1 for everybody. Otherwise each user has an address of loopback, where the system
   * has more than one (Linux).
   * @default false
   */
  oneSource?: boolean
  /**
   * Resolves the names to which the proxy has the SSH server connect.
   * @default the system's resolver
   */
  lookup?: Lookup
  /**
   * How many names may be looked up at once, a quarter of libuv's threads or so (UV_THREADPOOL_SIZE): the system's resolver
   * holds one for each. @default 2
   */
  lookupsAtOnce?: number
  /** Where the number of this start is kept, so that the next one is higher. @default nowhere: the clock has to do */
  epochFile?: string
  settings: AgentSettings
  log?: AgentLog
}
