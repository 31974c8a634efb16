/** Cuts that are remembered until something moves again; more than that means that nothing ever does. */
const MAX_SAMPLES = 100_000

/**
 * How long after a cut the first byte arrives that was sent after it. Of several cuts with nothing between them only
 * the last is measured: the earlier ones were not given the chance.
 */
export class RecoveryTimes {
  readonly #samplesMs: number[] = []
  #cutAtMs: number | undefined

  /** Milliseconds since the epoch with fractions: the same clock in all processes of one machine. */
  static now(): number {
    return performance.timeOrigin + performance.now()
  }

  cut(): void {
    this.#cutAtMs = RecoveryTimes.now()
  }

  /** Something has arrived that was sent at this moment. */
  arrived(sentAtMs: number): void {
    if (this.#cutAtMs === undefined || sentAtMs <= this.#cutAtMs) return
    if (this.#samplesMs.length < MAX_SAMPLES) this.#samplesMs.push(RecoveryTimes.now() - this.#cutAtMs)
    this.#cutAtMs = undefined
  }

  get count(): number {
    return this.#samplesMs.length
  }

  /** The time that this share of the cuts stayed under; undefined when there were none. */
  percentileMs(share: number): number | undefined {
    const sorted = [...this.#samplesMs].sort((a, b) => a - b)
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
  }
}
