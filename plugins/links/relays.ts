import type { FastifyInstance } from 'fastify'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import { Relay, type RelayOptions } from '../../protocol/stream/relay.ts'
import { StreamOwners } from './owners.ts'
import type { Session } from './session.ts'

/** The relays of all sealed streams, counted, and whose stream each is. */
export class Relays {
  readonly #app: FastifyInstance
  readonly #all = new Set<Relay>()
  readonly #owners: StreamOwners
  /** Payload bytes since they were last counted. */
  #bytesIn = 0
  #bytesOut = 0

  constructor(app: FastifyInstance, resumeMs: number) {
    this.#app = app
    this.#owners = new StreamOwners(resumeMs)
  }

  /** Those that have been passed on, and those that wait for it. */
  get counts(): { open: number; opening: number } {
    let open = 0
    for (const relay of this.#all) if (relay.connected) open++
    return { open, opening: this.#all.size - open }
  }

  /** Bytes of sealed streams; `bytesIn` are towards the machine. */
  carried(bytesIn: number, bytesOut: number): void {
    this.#bytesIn += bytesIn
    this.#bytesOut += bytesOut
  }

  /** Brings `tunnel_bytes_total` up to date: what a session carries is counted long before its end. */
  countBytes(): void {
    const { bytes } = this.#app.tunnelMetrics
    bytes.inc({ direction: 'in', mode: 'sealed' }, this.#bytesIn)
    bytes.inc({ direction: 'out', mode: 'sealed' }, this.#bytesOut)
    this.#bytesIn = 0
    this.#bytesOut = 0
  }

  /** A sealed stream that reached its machine is over, `durationMs` after it came here. */
  countOver(error: TunnelError | undefined, durationMs: number): void {
    const metrics = this.#app.tunnelMetrics
    metrics.requests.inc({ kind: 'ssh', outcome: error?.code ?? 'ok' })
    if (error === undefined) metrics.requestLatencyMs.observe({ kind: 'ssh' }, durationMs)
    // The person's own Ctrl-C is no error.
    else if (error.code !== 'ABORTED') metrics.countError(error)
  }

  /** Takes the place of `incoming`; `told` as the relay's own. */
  add(
    session: Session,
    incoming: IncomingOpen | IncomingResume,
    told: Pick<RelayOptions, 'onAnswered' | 'onOver'> = {},
  ): Relay {
    const { id } = incoming.head
    const sinceMs = performance.now()
    let forget: (() => void) | undefined
    const relay: Relay = new Relay(incoming, {
      memory: session.memory,
      onAnswered: () => {
        forget ??= this.#owners.add(id, session.userId)
        told.onAnswered?.()
      },
      onBytes: (direction, byteCount) => {
        if (direction === 'up') this.carried(byteCount, 0)
        else this.carried(0, byteCount)
      },
      onOver: (error, isOver) => {
        this.#all.delete(relay)
        forget?.()
        if (isOver && relay.connected) this.countOver(error, performance.now() - sinceMs)
        told.onOver?.(error, isOver)
      },
    })
    this.#all.add(relay)
    return relay
  }

  /** Whether a stream of this id is, or was of late, somebody else's. */
  isForeign(id: string, userId: string): boolean {
    return this.#owners.isForeign(id, userId)
  }
}
