import { Connection } from '../dial/connection.ts'
import type { LinkWatch } from '../dial/dialler.ts'
import type { TokenProvider } from '../dial/token.ts'
import type { TunnelError } from '../protocol/codec/errors.ts'
import { type Hello, PROTOCOL_VERSION } from '../protocol/codec/hello.ts'
import { Budget } from '../protocol/stream/budget.ts'
import { StreamOpener } from '../protocol/stream/opener.ts'
import type { ClientSettings } from './options.ts'
import type { Platform } from './platform.ts'

export interface SessionOptions {
  urls: readonly string[]
  token: TokenProvider
  settings: ClientSettings
  platform: Pick<Platform, 'clock' | 'random' | 'dial' | 'dialNear' | 'software' | 'watchNetwork'>
  /** How many wait for a link without a stream yet. @default none, ever */
  waiting?: () => number
  watch?: LinkWatch & { resumed(): void }
}

/** From one `connect()` until it is given up or closed: the way to the proxy, and the streams that go it. */
export class Session {
  readonly connection: Connection
  readonly opener: StreamOpener
  readonly #stopWatch: () => void

  constructor({ urls, token, settings, platform, watch, waiting = () => 0 }: SessionOptions) {
    const { clock, random, dial, dialNear, software } = platform
    const { heartbeat, backoff, streams, compression, limits, network, tls } = settings
    const hello: Hello = {
      role: 'client',
      version: PROTOCOL_VERSION,
      software,
      heartbeat,
      limits: { maxFrameBytes: limits.maxFrameBytes, maxStreams: streams.maxPerLink },
      resumeMs: streams.resumeMs,
    }
    const budget = new Budget(streams.userBudgetBytes)
    this.opener = new StreamOpener({ settings: streams, clock, budget, onResumed: () => watch?.resumed() })
    this.connection = new Connection({
      urls,
      token,
      hello: () => hello,
      dial,
      dialNear,
      clock,
      random,
      backoff,
      streams: () => this.opener.size + waiting(),
      watch,
      provenMs: heartbeat.intervalMs,
      compression: compression.enabled ? { thresholdBytes: compression.thresholdBytes } : undefined,
      reach: { network, tls },
    })
    this.connection.on('link', (link) => this.opener.attach(link))
    this.#stopWatch = platform.watchNetwork(() => this.connection.check())
  }

  /** Ends every stream with `error`, then the link. Resolves when the proxy has been told. */
  async end(error: TunnelError): Promise<void> {
    this.#stopWatch()
    this.opener.close(error)
    await this.connection.close()
  }
}
