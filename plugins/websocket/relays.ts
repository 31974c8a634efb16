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

  constructor(app: FastifyInstance) {
    this.#app = app
  }

  /** Those that have been passed on, and those that wait for it. */
  get counts(): { open: number; opening: number } {
    let open = 0
    for (const relay of this.#all) if (relay.connected) open++
    return { open, opening: this.#all.size - open }
  }

  /** Takes the place of `incoming`. `onOver` as the relay's own. */
  add(
    session: Session,
    incoming: IncomingOpen | IncomingResume,
    onOver?: (error: TunnelError | undefined, isOver: boolean) => void,
  ): Relay {
    const metrics = this.#app.tunnelMetrics
    const { kind, id } = incoming.head
    const forget = this.#remember(id, session.userId)
    const carried = { up: 0, down: 0 }
    const relay: Relay = new Relay(incoming, {
      memory: session.memory,
      onBytes: (direction, byteCount) => {
        carried[direction] += byteCount
      },
      onOver: (error, isOver) => {
        this.#all.delete(relay)
        forget()
        metrics.bytes.inc({ direction: 'in', mode: 'sealed' }, carried.up)
        metrics.bytes.inc({ direction: 'out', mode: 'sealed' }, carried.down)
        if (isOver && relay.connected) {
          metrics.requests.inc({ kind, outcome: error?.code ?? 'ok' })
          // The person's own Ctrl-C is no error.
          if (error !== undefined && error.code !== 'ABORTED') metrics.countError(error)
        }
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
