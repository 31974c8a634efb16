import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import { StreamAcceptor } from '../../protocol/stream/acceptor.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import { RelayMemory } from '../../protocol/stream/relay-memory.ts'

/** What one user has at this proxy: his links, his streams, and the memory that they share. */
export interface Session {
  readonly userId: string
  readonly links: Set<Link>
  /** Inspected streams: they end here, and outlive their links. */
  readonly acceptor: StreamAcceptor
  /** What waits in sealed streams' relays. */
  readonly memory: RelayMemory
}

const NO_LINKS: ReadonlySet<Link> = new Set()

/** Sessions by user. One that has neither links nor streams is forgotten after the resume window. */
export class Sessions {
  readonly #settings: StreamsOptions
  readonly #sessions = new Map<string, Session>()
  readonly #idle = new Map<Session, NodeJS.Timeout>()

  constructor(settings: StreamsOptions) {
    this.#settings = settings
  }

  get size(): number {
    return this.#sessions.size
  }

  /** The user's session; it is there until `leave`, and the resume window after. */
  join(userId: string, link: Link): Session {
    const session = this.#sessions.get(userId) ?? this.#add(userId)
    clearTimeout(this.#idle.get(session))
    this.#idle.delete(session)
    session.links.add(link)
    return session
  }

  #add(userId: string): Session {
    const settings = this.#settings
    const budget = new Budget(settings.userBudgetBytes)
    const session: Session = {
      userId,
      links: new Set(),
      acceptor: new StreamAcceptor({ settings, hop: 'proxy', budgetOf: () => budget }),
      memory: new RelayMemory(settings.userBudgetBytes),
    }
    this.#sessions.set(userId, session)
    return session
  }

  leave(session: Session, link: Link): void {
    session.links.delete(link)
    if (session.links.size > 0) return
    this.#idle.set(session, setTimeout(() => this.#forget(session), this.#settings.resumeMs).unref())
  }

  #forget(session: Session): void {
    this.#idle.delete(session)
    // Its last streams end with their own resume windows, which began when the link was lost.
    if (session.acceptor.size > 0) {
      this.#idle.set(session, setTimeout(() => this.#forget(session), this.#settings.resumeMs).unref())
    } else this.#sessions.delete(session.userId)
  }

  linksOf(userId: string): ReadonlySet<Link> {
    return this.#sessions.get(userId)?.links ?? NO_LINKS
  }

  /** Whether a stream that ends at this proxy goes over one of `links`. */
  areUsed(links: { has(link: Link): boolean }): boolean {
    for (const { acceptor } of this.#sessions.values()) {
      for (const { link } of acceptor.streams) if (link !== undefined && links.has(link)) return true
    }
    return false
  }

  /** Whether some other user has, or has just had, a stream of this id. */
  isForeign(id: string, userId: string): boolean {
    for (const session of this.#sessions.values()) {
      if (session.userId !== userId && session.acceptor.knows(id)) return true
    }
    return false
  }

  *all(): Generator<Session> {
    yield* this.#sessions.values()
  }

  close(error: TunnelError): void {
    for (const timer of this.#idle.values()) clearTimeout(timer)
    this.#idle.clear()
    for (const session of this.#sessions.values()) session.acceptor.close(error)
    this.#sessions.clear()
  }
}
