import type { Clock } from '../../protocol/clock.ts'
import type { BucketLimit, TokenAnswer } from './state.ts'

const DEFAULT_MAX_BUCKETS = 100_000
/** Idle buckets looked at on each call: more than one, so that the table shrinks faster than it grows. */
const SWEPT_PER_CALL = 2

/** @throws {RangeError} for a cost that can never be had */
export function checkCost({ burst }: BucketLimit, cost: number): void {
  if (!(cost > 0 && cost <= burst)) throw new RangeError(`a bucket of ${burst} tokens can never give ${cost}`)
}

/** When each bucket is full again, ordered by last use, the longest unused first. */
type Table = Map<string, number>

/**
 * Token buckets, each one number: the moment at which it will be full again (the generic cell rate algorithm).
 * Refilling is reading the clock, so there is no timer; a full bucket equals an absent one and is dropped. Those whose
 * names begin with the same word up to a colon have a table: what strangers can name pushes no user's bucket out.
 */
export class Buckets {
  readonly #clock: Clock
  readonly #maxBuckets: number
  /** By that word, of which there are as many as there are callers. */
  readonly #tables = new Map<string, Table>()

  /** @param maxBuckets in each table */
  constructor(clock: Clock, maxBuckets = DEFAULT_MAX_BUCKETS) {
    this.#clock = clock
    this.#maxBuckets = maxBuckets
  }

  get size(): number {
    let size = 0
    for (const table of this.#tables.values()) size += table.size
    return size
  }

  #tableOf(bucket: string): Table {
    const kind = bucket.slice(0, bucket.indexOf(':') + 1)
    const table = this.#tables.get(kind) ?? new Map<string, number>()
    this.#tables.set(kind, table)
    return table
  }

  take(bucket: string, limit: BucketLimit, cost = 1): TokenAnswer {
    checkCost(limit, cost)
    const table = this.#tableOf(bucket)
    const now = this.#clock.now()
    const tokenMs = 60_000 / limit.perMinute
    // A limit that was lowered since must not leave a bucket emptier than empty.
    const fullAt = Math.min(Math.max(table.get(bucket) ?? now, now), now + limit.burst * tokenMs)
    const after = fullAt + cost * tokenMs
    const waitMs = after - now - limit.burst * tokenMs
    // A hair of rounding must not refuse the very last token.
    const allowed = waitMs < 1e-6
    // One alone is the last as it is.
    if (table.size > 1) table.delete(bucket)
    table.set(bucket, allowed ? after : fullAt)
    this.#sweep(table, now)
    const missing = ((allowed ? after : fullAt) - now) / tokenMs
    return {
      allowed,
      remaining: Math.max(0, Math.floor(limit.burst - missing + 1e-6)),
      retryAfterMs: allowed ? 0 : Math.ceil(waitMs),
    }
  }

  /** Those that are not full, and how long each would take until it is, in ms. */
  missing(): [bucket: string, ms: number][] {
    const now = this.#clock.now()
    const buckets = [...this.#tables.values()].flatMap((table) => [...table])
    return buckets.filter(([, fullAt]) => fullAt > now).map(([bucket, fullAt]) => [bucket, fullAt - now])
  }

  /** As `missing` had them so many ms ago. */
  restore(missing: readonly [bucket: string, ms: number][], ageMs: number): void {
    const now = this.#clock.now()
    for (const [bucket, ms] of missing) if (ms > ageMs) this.#tableOf(bucket).set(bucket, now + ms - ageMs)
  }

  #sweep(table: Table, now: number): void {
    let looked = 0
    for (const [bucket, fullAt] of table) {
      if (looked++ === SWEPT_PER_CALL) return
      // Over the bound the longest unused goes even if it is not full: memory comes before a late token.
      if (fullAt <= now || table.size > this.#maxBuckets) table.delete(bucket)
    }
  }
}
