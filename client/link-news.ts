import type { Clock } from '../protocol/clock.ts'
import type { TunnelError } from '../protocol/codec/errors.ts'
import type { Link } from '../protocol/link/link.ts'
import type { TransportKind } from '../protocol/link/transport.ts'
import type { ClientMetrics } from './metrics/collector.ts'
import type { TunnelEvents } from './tunnel-options.ts'

/** What a client tells of its links: when one is lost, when the next is there, and what carries it. */
export class LinkNews {
  readonly #clock: Clock
  readonly #metrics: ClientMetrics
  readonly #emit: <Name extends keyof TunnelEvents>(name: Name, ...args: TunnelEvents[Name]) => void
  #lostAtMs: number | undefined
  /** What carried the last link. */
  #transport: TransportKind = 'websocket'

  constructor(
    clock: Clock,
    metrics: ClientMetrics,
    emit: <Name extends keyof TunnelEvents>(name: Name, ...args: TunnelEvents[Name]) => void,
  ) {
    this.#clock = clock
    this.#metrics = metrics
    this.#emit = emit
  }

  /** @param streams those that were waiting for it */
  made(link: Link, streams: number): void {
    if (link.transport !== this.#transport) this.#emit('transport', link.transport, link.detour)
    this.#transport = link.transport
    if (this.#lostAtMs === undefined) return
    const reconnected = { afterMs: Math.round(this.#clock.now() - this.#lostAtMs), streams }
    this.#lostAtMs = undefined
    this.#emit('reconnected', reconnected)
    this.#emit('resumed', reconnected)
  }

  lost(error: TunnelError): void {
    this.#lostAtMs ??= this.#clock.now()
    this.#metrics.lost()
    this.#metrics.errored(error)
    this.#emit('link-lost', error)
  }

  /** No other follows. */
  ended(): void {
    this.#lostAtMs = undefined
    this.#metrics.disconnected()
  }
}
