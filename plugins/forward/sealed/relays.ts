import { ChurningMap } from '../../../protocol/churn.ts'
import type { TunnelError } from '../../../protocol/codec/errors.ts'
import type { IncomingOpen, IncomingResume } from '../../../protocol/link/handlers.ts'
import { Relay } from '../../../protocol/stream/relay.ts'
import type { StreamOwners } from '../owners.ts'
import type { Passage } from '../passage.ts'
import type { Session } from '../sessions.ts'

/** What a relay tells whoever made it, beside the passage. */
export interface RelayWatch {
  /** The acceptor has taken the stream. */
  answered?(): void
  /** This relay has nothing more to do with the stream, which may go on. */
  left?(error: TunnelError | undefined): void
}

/** The relays of one stream: one that carries it, and those that ask to. */
interface Ways {
  carrying: Relay | undefined
  readonly asking: Set<Relay>
}

/** Sealed streams: each is joined to its agent's link by one relay after another, and is one passage all along. */
export class Relays {
  readonly #owners: StreamOwners
  readonly #resumeMs: number
  readonly #ways = new ChurningMap<Passage, Ways>()

  constructor(owners: StreamOwners, resumeMs: number) {
    this.#owners = owners
    this.#resumeMs = resumeMs
  }

  /** Streams that are relayed, or ask to be. */
  get size(): number {
    return this.#ways.size
  }

  /** Takes the place of `incoming` on its link for a stream that has been authorised. */
  add(
    session: Session,
    passage: Passage,
    incoming: IncomingOpen | IncomingResume,
    watch: RelayWatch = {},
  ): Relay {
    const ways = this.#ways.get(passage) ?? { carrying: undefined, asking: new Set() }
    let disown: (() => void) | undefined
    const relay: Relay = new Relay(incoming, {
      memory: session.memory,
      pace: session.pace,
      isShared: () => passage.owner !== undefined && passage.owner !== session.userId,
      onAnswered: () => {
        disown ??= this.#owners.add(passage.id, session.userId)
        ways.asking.delete(relay)
        ways.carrying = relay
        passage.carrying()
        watch.answered?.()
      },
      onBytes: (direction, byteCount) => passage.carried(direction === 'up' ? 'in' : 'out', byteCount),
      onOver: (error, isOver) => {
        disown?.()
        watch.left?.(error)
        const carried = ways.carrying === relay
        if (carried) ways.carrying = undefined
        ways.asking.delete(relay)
        this.#left(passage, ways, carried, isOver, error)
      },
    })
    this.#ways.set(passage, ways)
    ways.asking.add(relay)
    passage.asked(incoming.head.attempt ?? 0)
    return relay
  }

  /** Whether something carries the stream, or asks to. */
  has(passage: Passage): boolean {
    return this.#ways.has(passage)
  }

  /** The stream is over: nothing carries it on. */
  end(passage: Passage, error: TunnelError): void {
    const ways = this.#ways.get(passage)
    if (ways === undefined) return
    for (const relay of [...ways.asking]) relay.reset(error)
    ways.carrying?.reset(error)
  }

  /** What the end of one relay is to the stream. */
  #left(
    passage: Passage,
    ways: Ways,
    carried: boolean,
    isOver: boolean,
    error: TunnelError | undefined,
  ): void {
    if (ways.carrying === undefined && ways.asking.size === 0) this.#ways.delete(passage)
    // An older relay, or an attempt that failed beside one that stands: the stream does not end with it.
    if (passage.isOver || ways.carrying !== undefined) return
    if (passage.context.moved && !passage.wasCarried) {
      if (ways.asking.size === 0) passage.forget()
      return
    }
    const isElsewhere = error?.code === 'TAKEN_OVER'
    // Only how it ended is said again here, and whoever had it last has counted it.
    if (isOver && passage.wasElsewhere) return passage.moved()
    if (isOver && !isElsewhere && !mayAskAgain(passage, error)) return passage.over(error)
    // A newer relay asks for it: the older one was told first.
    if (ways.asking.size > 0) return passage.suspended(this.#resumeMs)
    if (isElsewhere && carried) passage.moved()
    else passage.suspended(this.#resumeMs)
  }
}

/** A stream that its acceptor never had goes on: its opener opens it again, under the same id. */
export function mayAskAgain(passage: Passage, error: TunnelError | undefined): boolean {
  return error?.code === 'UNKNOWN_STREAM' && !passage.wasCarried
}
