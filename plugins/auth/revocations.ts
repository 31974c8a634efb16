import { type Clock, systemClock } from '../../protocol/clock.ts'
import { Sweep } from '../../protocol/sweep.ts'
import type { Json, State } from '../state/index.ts'
import { revocationsUnknown, tokenRevoked } from './errors.ts'
import type { User } from './tokens.ts'

const NAMESPACE = 'revoked'
/** Read at once at the start. */
const PAGE = 10_000
/** Revocations that are looked at on each new one: more than one, so that they go faster than they come. */
const SWEPT_PER_WRITE = 4

/** How far the clocks of other replicas are from this one's at most, in ms: 0 where they agree. */
export interface ClockSpread {
  aheadMs: number
  behindMs: number
}

/** What of a user is looked at to know whether it is revoked. */
export type Bearer = Pick<User, 'sub' | 'credential'>

type Revoked =
  | { kind: 'token' | 'session'; id: string; untilMs: number }
  /** All that was issued to the user up to then. */
  | { kind: 'user'; id: string; issuedUntilMs: number }

/**
 * Which tokens hold no more: one of them, those of one session, or all of a user so far. In memory, so that the check is
 * a look-up, and durable behind it; a revocation holds here at once, and for good when its promise resolves.
 */
export class Revocations {
  readonly #state: State
  readonly #nowMs: () => number
  readonly #clock: Clock
  /** By `kind:id`, until when. */
  readonly #until = new Map<string, number>()
  readonly #sweep = new Sweep(this.#until, SWEPT_PER_WRITE)
  /** By user: what was issued up to then is revoked. */
  readonly #issuedUntil = new Map<string, number>()
  readonly #listeners = new Set<(isRevoked: (bearer: Bearer) => boolean) => void>()

  readonly #ownListeners = new Set<(revoked: Json) => void>()
  #spread: () => ClockSpread = () => ({ aheadMs: 0, behindMs: 0 })

  /** When the last reading that was whole began, by `#clock`. */
  #readAtMs = Number.NEGATIVE_INFINITY
  #reading: Promise<void> = Promise.resolve()
  /** Waits for the one under way. */
  #nextReading: Promise<void> | undefined

  /** @param clock by which what was read grows old */
  constructor(state: State, nowMs: () => number = Date.now, clock: Clock = systemClock) {
    this.#state = state
    this.#nowMs = nowMs
    this.#clock = clock
  }

  /** Reads them all, and keeps up with those to come; returns what ends that. */
  async follow(failed: (error: unknown) => void): Promise<() => void> {
    const stop = this.#state.watch(NAMESPACE, {
      written: (_key, value) => this.#add(value),
      missed: () => void this.#readAll().catch(failed),
    })
    await this.#readAll()
    return stop
  }

  /** One at a time, and one more for all that ask meanwhile: that one may have passed by what was missed since. */
  #readAll(): Promise<void> {
    this.#nextReading ??= this.#reading
      // Whoever asked for that one hears of its failure.
      .catch(() => {})
      .then(() => {
        this.#nextReading = undefined
        this.#reading = this.#readPages()
        return this.#reading
      })
    return this.#nextReading
  }

  async #readPages(): Promise<void> {
    const beganAtMs = this.#clock.now()
    let after: string | undefined
    do {
      const page: [string, Json][] = await this.#state.list(NAMESPACE, '', PAGE, after)
      for (const [, value] of page) this.#add(value)
      after = page.length < PAGE ? undefined : page.at(-1)?.[0]
    } while (after !== undefined)
    this.#readAtMs = beganAtMs
  }

  /** Calls `listener` for each new revocation, with what says whom it concerns; returns what ends that. */
  onRevoked(listener: (isRevoked: (bearer: Bearer) => boolean) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Calls `listener` with each that is made here, whether or not it could be stored: other replicas may be told. */
  onOwn(listener: (revoked: Json) => void): void {
    this.#ownListeners.add(listener)
  }

  /** Whose clocks tell when tokens were issued and are over, beside this one's. */
  spreadClocks(spread: () => ClockSpread): void {
    this.#spread = spread
  }

  /** Another replica tells of one. What is none is passed over. */
  learn(told: unknown): void {
    const revoked = checked(told)
    if (revoked !== undefined) this.#add(revoked)
  }

  /** @throws {TunnelError} TOKEN_REVOKED, STATE_UNAVAILABLE where it cannot be known */
  check(bearer: Bearer): void {
    const { staleMs = Number.POSITIVE_INFINITY } = this.#state
    if (this.#clock.now() - this.#readAtMs > staleMs) throw revocationsUnknown()
    if (this.isRevoked(bearer)) throw tokenRevoked()
  }

  isRevoked({ sub, credential }: Bearer): boolean {
    const issuedUntilMs = this.#issuedUntil.get(sub)
    if (issuedUntilMs !== undefined && (credential?.issuedAtMs ?? 0) <= issuedUntilMs) return true
    if (credential === undefined) return false
    const { id, session } = credential
    return this.#holds(`token:${id}`) || (session !== undefined && this.#holds(`session:${session}`))
  }

  #holds(key: string): boolean {
    return (this.#until.get(key) ?? 0) > this.#nowMs()
  }

  /** One token, which ends by itself at `untilMs`. */
  revokeToken(id: string, untilMs: number): Promise<void> {
    return this.#revoke({ kind: 'token', id, untilMs })
  }

  /** All tokens of a session, the last of which ends by itself at `untilMs`. */
  revokeSession(id: string, untilMs: number): Promise<void> {
    return this.#revoke({ kind: 'session', id, untilMs })
  }

  /** All tokens that were issued to the user up to now. */
  revokeUser(sub: string, clockToleranceMs: number): Promise<void> {
    // Tokens tell their time in whole seconds, and by their issuer's clock.
    const issuedUntilMs = this.#nowMs() + clockToleranceMs + this.#spread().aheadMs
    return this.#revoke({ kind: 'user', id: sub, issuedUntilMs })
  }

  async #revoke(revoked: Revoked): Promise<void> {
    const key = `${revoked.kind}:${revoked.id}`
    // What stands here ends before the disk or Redis has it: a busy one may take its time, or fail.
    this.#add({ ...revoked })
    for (const listener of this.#ownListeners) listener({ ...revoked })
    if (revoked.kind === 'user') return this.#state.put(NAMESPACE, key, { ...revoked })
    const ttlMs = revoked.untilMs - this.#nowMs() + this.#spread().behindMs
    if (ttlMs > 0) await this.#state.put(NAMESPACE, key, { ...revoked }, { ttlMs })
  }

  #add(value: Json): void {
    const revoked = value as Revoked
    if (revoked.kind === 'user') {
      if ((this.#issuedUntil.get(revoked.id) ?? 0) >= revoked.issuedUntilMs) return
      this.#issuedUntil.set(revoked.id, revoked.issuedUntilMs)
    } else {
      for (const [over, untilMs] of this.#sweep.some()) if (untilMs <= this.#nowMs()) this.#until.delete(over)
      const key = `${revoked.kind}:${revoked.id}`
      if ((this.#until.get(key) ?? 0) >= revoked.untilMs) return
      this.#until.set(key, revoked.untilMs)
    }
    for (const listener of this.#listeners) listener((bearer) => this.isRevoked(bearer))
  }
}

function checked(told: unknown): Revoked | undefined {
  const { kind, id, untilMs, issuedUntilMs } = (told ?? {}) as Record<string, unknown>
  if (typeof id !== 'string') return undefined
  const isTime = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
  if (kind === 'user' && isTime(issuedUntilMs)) return { kind, id, issuedUntilMs }
  return (kind === 'token' || kind === 'session') && isTime(untilMs) ? { kind, id, untilMs } : undefined
}
