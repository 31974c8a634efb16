import type { FastifyInstance } from 'fastify'
import type { TunnelError } from '../../protocol/errors.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link-handlers.ts'
import { Relay } from '../../protocol/relay.ts'
import type { Session } from './session.ts'

/** The relays of all sealed streams, counted, and whose stream each is. */
export class Relays {
  readonly #app: FastifyInstance
  readonly #all = new Set<Relay>()
  /** Whose sealed streams pass through here, by id: to know an attempt on another user's. */
  readonly #owners = new Map<string, { userId: string; relays: number }>()
  /** Payload bytes since they were last counted. */
  #bytesIn = 0
  #bytesOut = 0

  constructor(app: FastifyInstance) {
    this.#app = app
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

  /** A sealed stream that reached its machine is over. */
  countOver(kind: string, error: TunnelError | undefined): void {
    const metrics = this.#app.tunnelMetrics
    metrics.requests.inc({ kind, outcome: error?.code ?? 'ok' })
    // The person's own Ctrl-C is no error.
    if (error !== undefined && error.code !== 'ABORTED') metrics.countError(error)
  }

  /** Takes the place of `incoming`. `onOver` as the relay's own. */
  add(
    session: Session,
    incoming: IncomingOpen | IncomingResume,
    onOver?: (error: TunnelError | undefined, isOver: boolean) => void,
  ): Relay {
    const { kind, id } = incoming.head
    const forget = this.#remember(id, session.userId)
    const relay: Relay = new Relay(incoming, {
      memory: session.memory,
      onBytes: (direction, byteCount) => {
        if (direction === 'up') this.carried(byteCount, 0)
        else this.carried(0, byteCount)
      },
      onOver: (error, isOver) => {
        this.#all.delete(relay)
        forget()
        if (isOver && relay.connected) this.countOver(kind, error)
        onOver?.(error, isOver)
      },
    })
    this.#all.add(relay)
    return relay
  }

  #remember(id: string, userId: string): () => void {
    const known = this.#owners.get(id) ?? { userId, relays: 0 }
    if (known.userId !== userId) return () => {}
    this.#owners.set(id, known)
    known.relays++
    return () => {
      known.relays--
      if (known.relays === 0) this.#owners.delete(id)
    }
  }

  /** Whether somebody else's stream of this id passes through here. */
  isForeign(id: string, userId: string): boolean {
    const owner = this.#owners.get(id)
    return owner !== undefined && owner.userId !== userId
  }
}
