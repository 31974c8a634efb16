import { ChurningMap } from '../../protocol/churn.ts'
import type { Clock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { LineSampler } from '../../protocol/line-sampler.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import { StreamAcceptor } from '../../protocol/stream/acceptor.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import { Pace } from '../../protocol/stream/pace.ts'
import { RelayMemory } from '../../protocol/stream/relay-memory.ts'
import { TokenBucket } from '../../protocol/token-bucket.ts'
import type { User } from '../auth/index.ts'
import type { Tiers } from '../tiers/index.ts'
import type { Refusals } from './ending.ts'
import type { Passage } from './passage.ts'

/** Refusals a second that one user may ask for, beyond a burst. */
const REFUSALS_PER_SECOND = 50
const REFUSALS = 1_000
/** Of each code, so many in a row are told, and then one in ten seconds: some megabytes a day. */
const TOLD_REFUSALS = { burst: 100, perSecond: 0.1 }

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
  /** Which of those are told. */
  readonly told: Refusals
  /** How fast its payload may go; undefined: as fast as there is room. */
  pace: Pace | undefined
  /** Every stream that is here or may come back here, by its `passageKey`. */
  readonly passages: ChurningMap<string, Passage>
}

/**
 * One stream may be here twice: its client has gone to another replica, which hands it over, and nobody has told yet that
 * the way from here is over.
 * @param via the replicas that hand it over
 */
export function passageKey(id: string, via: string | undefined): string {
  // No id has a space in it.
  return via === undefined ? id : `${id} ${via}`
}

/** What a stream needs of its user's. */
export type PassageSession = Pick<Session, 'told' | 'pace'>

/** Sessions by user. One that has neither links nor streams is forgotten after the resume window. */
export class Sessions {
  readonly #settings: StreamsOptions
  readonly #limitsOf: Tiers['limitsOf']
  readonly #clock: Clock
  readonly #forgotten: (session: Session) => void
  readonly #sessions = new Map<string, Session>()
  readonly #idle = new Map<Session, unknown>()

  /** @param forgotten told of each session that is no more */
  constructor(
    settings: StreamsOptions,
    limitsOf: Tiers['limitsOf'],
    clock: Clock,
    forgotten: (session: Session) => void,
  ) {
    this.#settings = settings
    this.#limitsOf = limitsOf
    this.#clock = clock
    this.#forgotten = forgotten
  }

  /**
   * The user's session; it is there until `leave`, and the resume window after. The newest link's tier holds for all.
   * @param bytesPerSecond 0: no limit
   */
  join(user: User, link: Link, bytesPerSecond: number): Session {
    const session = this.#of(user, bytesPerSecond)
    this.#clock.clearTimer(this.#idle.get(session))
    this.#idle.delete(session)
    session.links.add(link)
    return session
  }

  #of(user: User, bytesPerSecond: number): Session {
    const { budgetBytes } = this.#limitsOf(user)
    const session = this.#sessions.get(user.sub) ?? this.#add(user.sub, budgetBytes)
    session.budget.totalBytes = budgetBytes
    session.memory.limitBytes = budgetBytes
    if (bytesPerSecond !== (session.pace?.bytesPerSecond ?? 0)) {
      // Streams that wait for the former pace go on.
      session.pace?.close()
      session.pace = bytesPerSecond === 0 ? undefined : new Pace(this.#clock, bytesPerSecond)
    }
    return session
  }

  /** The session of a user who may have no link here; it is there for the resume window, and as long as it has streams. */
  visit(user: User, bytesPerSecond: number): Session {
    const session = this.#of(user, bytesPerSecond)
    if (session.links.size === 0 && !this.#idle.has(session)) this.#forgetLater(session)
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
      told: new LineSampler(this.#clock, TOLD_REFUSALS),
      pace: undefined,
      passages: new ChurningMap(),
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
    if (session.passages.size > 0) return this.#forgetLater(session)
    this.#sessions.delete(session.userId)
    this.#forgotten(session)
  }

  hasOther(userId: string): boolean {
    return this.#sessions.size > (this.#sessions.has(userId) ? 1 : 0)
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
    for (const session of this.#sessions.values()) {
      session.acceptor.close(error)
      session.pace?.close()
      this.#forgotten(session)
    }
    this.#sessions.clear()
  }
}
