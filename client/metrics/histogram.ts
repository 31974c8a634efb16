/** How far a quantile may be from the true one, as a share of it. */
export const ACCURACY = 0.02
/** What is shorter is counted as this, in ms. */
const LEAST_MS = 0.1
const GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
const LOG_GAMMA = Math.log(GAMMA)
/** Up to 22 hours; what takes longer is counted as that. */
const BUCKETS = 512

/**
 * Durations in buckets whose width grows with them: the mapping of DDSketch (Masson, Rim and Lee, VLDB 2019), with as many
 * buckets from the beginning as there will ever be, so that it stays at 2 KB. A quantile is right to ACCURACY.
 */
export class Histogram {
  readonly #counts = new Uint32Array(BUCKETS)
  count = 0
  sumMs = 0
  #leastMs = Number.POSITIVE_INFINITY
  #mostMs = 0

  record(ms: number): void {
    const bucket = Math.ceil(Math.log(Math.max(ms, LEAST_MS) / LEAST_MS) / LOG_GAMMA)
    this.#counts[Math.min(BUCKETS - 1, bucket)]!++
    this.count++
    this.sumMs += ms
    this.#leastMs = Math.min(this.#leastMs, ms)
    this.#mostMs = Math.max(this.#mostMs, ms)
  }

  add(other: Histogram): void {
    other.#counts.forEach((count, bucket) => {
      this.#counts[bucket]! += count
    })
    this.count += other.count
    this.sumMs += other.sumMs
    this.#leastMs = Math.min(this.#leastMs, other.#leastMs)
    this.#mostMs = Math.max(this.#mostMs, other.#mostMs)
  }

  clear(): void {
    this.#counts.fill(0)
    this.count = this.sumMs = this.#mostMs = 0
    this.#leastMs = Number.POSITIVE_INFINITY
  }

  get averageMs(): number {
    return this.count === 0 ? 0 : this.sumMs / this.count
  }

  /** The value that a `share` of what was recorded is not above, in ms; 0 before the first. */
  quantile(share: number): number {
    if (this.count === 0) return 0
    const rank = share * (this.count - 1)
    let seen = 0
    const bucket = this.#counts.findIndex((count) => {
      seen += count
      return seen > rank
    })
    const middleMs = (LEAST_MS * 2 * GAMMA ** bucket) / (GAMMA + 1)
    return Math.min(this.#mostMs, Math.max(this.#leastMs, middleMs))
  }
}
