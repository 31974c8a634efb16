import type { Clock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import { StreamAcceptor } from '../../protocol/stream/acceptor.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import { RelayMemory } from '../../protocol/stream/relay-memory.ts'
import { TokenBucket } from '../../protocol/token-bucket.ts'
import type { User } from '../auth/index.ts'
import type { Tiers } from '../tiers/index.ts'
import type { Passage } from './passage.ts'

/** Refusals a second that one user may ask for, beyond a burst: each costs a line of the log and of the audit trail. */
const REFUSALS_PER_SECOND = 50
const REFUSALS = 1_000

/** What one user has at this proxy: links, streams, and the memory that they share. */
export interface Session {
  readonly userId: string
  readonly links: Set<Link>
  /** Streams that end here; they outlive their links. */
  readonly acceptor: StreamAcceptor
  /** What those hold. */
  readonly budget: Budget
  /** What relayed streams hold here, and what waits to be admitted. */
  readonly memory: RelayMemory
  /** What the user may still ask for that is refused. */
  readonly refusals: TokenBucket
  /** Every stream that is here or may come back here, by its id. */
  readonly passages: Map<string, Passage>
}

/** Sessions by user. One that has neither links nor streams is forgotten after the resume window. */
export class Sessions {
  readonly #settings: StreamsOptions
  readonly #limitsOf: Tiers['limitsOf']
  readonly #clock: Clock
  readonly #sessions = new Map<string, Session>()
  readonly #idle = new Map<Session, unknown>()

  constructor(settings: StreamsOptions, limitsOf: Tiers['limitsOf'], clock: Clock) {
    this.#settings = settings
    this.#limitsOf = limitsOf
    this.#clock = clock
  }

  /** The user's session; it is there until `leave`, and the resume window after. The newest link's tier holds for all. */
  join(user: User, link: Link): Session {
    const { budgetBytes } = this.#limitsOf(user)
    const session = this.#sessions.get(user.sub) ?? this.#add(user.sub, budgetBytes)
    session.budget.totalBytes = budgetBytes
    session.memory.limitBytes = budgetBytes
    this.#clock.clearTimer(this.#idle.get(session))
    this.#idle.delete(session)
    session.links.add(link)
    return session
  }

  #add(userId: string, budgetBytes: number): Session {
    const settings = this.#settings
    const budget = new Budget(budgetBytes)
    const session: Session = {
      userId,
      links: new Set(),
      acceptor: new StreamAcceptor({ settings, clock: this.#clock, hop: 'proxy', budgetOf: () => budget }),
      budget,
      memory: new RelayMemory(budgetBytes),
      refusals: new TokenBucket(this.#clock, REFUSALS_PER_SECOND, REFUSALS),
      passages: new Map(),
    }
    this.#sessions.set(userId, session)
    return session
  }

  leave(session: Session, link: Link): void {
    session.links.delete(link)
    if (session.links.size === 0) this.#forgetLater(session)
  }

  #forgetLater(session: Session): void {
    this.#idle.set(
      session,
      this.#clock.setTimer(() => this.#forget(session), this.#settings.resumeMs),
    )
  }

  #forget(session: Session): void {
    this.#idle.delete(session)
    // Its last streams end with their own resume windows, which may have begun later.
    if (session.passages.size > 0) this.#forgetLater(session)
    else this.#sessions.delete(session.userId)
  }

  of(userId: string): Session | undefined {
    return this.#sessions.get(userId)
  }

  *all(): Generator<Session> {
    yield* this.#sessions.values()
  }

  close(error: TunnelError): void {
    for (const timer of this.#idle.values()) this.#clock.clearTimer(timer)
    this.#idle.clear()
    for (const session of this.#sessions.values()) session.acceptor.close(error)
    this.#sessions.clear()
  }
}
