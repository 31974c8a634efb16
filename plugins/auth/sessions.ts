import type { Records, State } from '../state/index.ts'
import { bearerOf } from './claims.ts'
import { RefreshReused, refreshInvalid } from './errors.ts'
import { REFRESH_TYPE, type RefreshBearer, refreshKey, refreshToken } from './refresh-tokens.ts'
import type { Bearer, Revocations } from './revocations.ts'
import { signToken } from './tokens.ts'
import { type Claims, type Verify, verifierOf } from './verifier.ts'

const NAMESPACE = 'session'
/** For how long an answer that was lost may be asked for again, in ms. */
const ANSWER_MS = 30_000
/** How often a refresh begins again because another came between; each time one of them has won. */
const ATTEMPTS = 5

/** Where a session stands. It is as old as its last refresh token, and gone with it. */
interface SessionRecord {
  /** The number of the refresh token that is good. */
  next: number
  /** Who asked for it, and when (epoch ms, by the clock of what keeps the records): that one may ask again. */
  requestId: string | null
  atMs: number
  /** When the access token ends that went with it, in epoch seconds. */
  exp: number
}

export type SessionState = Records & Pick<State, 'nowMs'>

export interface SessionOptions {
  secret: string
  issuer: string
  audience: string
  clockToleranceMs: number
  accessTtlMs: number
  refreshTtlMs: number
}

export interface Refreshed {
  token: string
  refreshToken: string
  /** Of the token, in epoch ms. */
  expiresAtMs: number
}

interface RefreshClaims extends RefreshBearer {
  session: string
  number: number
  issuedAtMs: number
}

/**
 * Sessions that last: each refresh token is good for one use and gives the next (RFC 9700, section 4.14). One that comes
 * back when it has been used was copied, and it is not known by whom: then the whole session ends.
 */
export class Sessions {
  readonly #records: SessionState
  readonly #revocations: Revocations
  readonly #options: SessionOptions
  readonly #verify: Verify

  constructor(records: SessionState, revocations: Revocations, options: SessionOptions) {
    this.#records = records
    this.#revocations = revocations
    this.#options = options
    const demands = { issuer: '', audience: '', clockToleranceMs: 0 }
    this.#verify = verifierOf(refreshKey(options.secret), ['HS256'], demands, new Set([REFRESH_TYPE]))
  }

  /**
   * The next token and refresh token of the session.
   * @param requestId of the caller's making: with the same one, an answer that was lost is given again
   * @throws {TunnelError} TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_REVOKED; `RefreshReused` where the session had to end
   */
  async refresh(token: string, requestId?: string): Promise<Refreshed> {
    const claims = this.read(token)
    const { sub, issuedAtMs, session } = claims
    const bearer: Bearer = { sub, credential: { id: '', issuedAtMs, session } }
    this.#revocations.check(bearer)
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const refreshed = await this.#step(claims, requestId)
      if (refreshed === undefined) continue
      // What was revoked while the state was busy must not go on in a token that is younger than that.
      this.#revocations.check(bearer)
      return refreshed
    }
    throw refreshInvalid()
  }

  /** Undefined where another refresh of the same session came between. */
  async #step(claims: RefreshClaims, requestId?: string): Promise<Refreshed | undefined> {
    const { session, number } = claims
    // Of two replicas, which may both be asked for one answer, each has its own clock.
    const [stored, atMs] = await Promise.all([
      this.#records.get(NAMESPACE, session),
      this.#records.nowMs?.() ?? Date.now(),
    ])
    const record = stored as SessionRecord | undefined
    const options = { ttlMs: this.#options.refreshTtlMs }
    // The second and later ones come from a record.
    if (record === undefined && number > 0) throw refreshInvalid()
    if (record === undefined || record.next === number) {
      const exp = Math.floor((Date.now() + this.#options.accessTtlMs) / 1_000)
      const next: SessionRecord = { next: number + 1, requestId: requestId ?? null, atMs, exp }
      const isMine =
        stored === undefined
          ? await this.#records.create(NAMESPACE, session, { ...next }, options)
          : await this.#records.replace(NAMESPACE, session, stored, { ...next }, options)
      return isMine ? this.#answer(claims, next) : undefined
    }
    const isLost = record.next === number + 1 && atMs - record.atMs <= ANSWER_MS
    if (isLost && requestId !== undefined && record.requestId === requestId)
      return this.#answer(claims, record)
    await this.end(session)
    throw new RefreshReused(claims.sub, session)
  }

  #answer(claims: RefreshClaims, { next, exp }: SessionRecord): Refreshed {
    const { secret, issuer, audience } = this.#options
    const { sub, tier, roles, machine, session } = claims
    const bearer = { sub, ...(tier !== undefined && { tier }), ...(roles && { roles }), session }
    const own = { ...bearer, ...(machine !== undefined && { machine }) }
    const ttlSeconds = exp - Math.floor(Date.now() / 1_000)
    return {
      token: signToken(secret, { ...own, ttlSeconds, issuer, audience }),
      refreshToken: refreshToken(this.#options, own, next),
      expiresAtMs: exp * 1_000,
    }
  }

  /** Ends a session: its refresh token, its tokens, and what stands on them. */
  async end(session: string): Promise<void> {
    const { refreshTtlMs, accessTtlMs, clockToleranceMs } = this.#options
    // None of what it has given out lives longer than that.
    const lastMs = Math.max(refreshTtlMs, accessTtlMs) + clockToleranceMs
    await this.#revocations.revokeSession(session, Date.now() + lastMs)
  }

  /** A refresh token's claims. @throws {TunnelError} TOKEN_INVALID, TOKEN_EXPIRED */
  read(token: string): RefreshClaims {
    const claims: Claims = this.#verify(token)
    const { sid, number, iat } = claims
    if (typeof sid !== 'string' || !Number.isSafeInteger(number) || typeof iat !== 'number')
      throw refreshInvalid()
    // Also one that was made when they lived longer: what ends a session counts on it.
    if (iat * 1_000 + this.#options.refreshTtlMs <= Date.now()) throw refreshInvalid()
    return { ...bearerOf(claims), session: sid, number: number as number, issuedAtMs: iat * 1_000 }
  }
}
