/** Bounds of the window, in bytes. The upper one is what a path of 120 ms holds at 130 MB/s, and what it costs in memory. */
const MIN_BYTES = 1_048_576
/** What is tried before anything is known of the path. */
const FIRST_BYTES = 4_194_304
export const MAX_BYTES = 16_777_216
/** As much is under way as has lately been moved in this time, in ms: a copy that is stopped need not wait for more. */
const HORIZON_MS = 1_000
/** How long the rate is measured, in ms. */
const MEASURE_MS = 100

/** How many bytes all files together may have under way: what is read and not yet written is in memory. */
export class ByteWindow {
  readonly #waiting: { byteCount: number; resolve: () => void }[] = []
  #maxBytes = FIRST_BYTES
  #usedBytes = 0
  #movedBytes = 0
  #sinceMs: number | undefined

  /** Waits for room, in turn. */
  take(byteCount: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ byteCount, resolve })
      this.#serve()
    })
  }

  /** They have been moved. */
  give(byteCount: number): void {
    this.#usedBytes -= byteCount
    this.#measure(byteCount)
    this.#serve()
  }

  #measure(byteCount: number): void {
    const nowMs = performance.now()
    // The first bytes begin the measure.
    if (this.#sinceMs === undefined) {
      this.#sinceMs = nowMs
      return
    }
    this.#movedBytes += byteCount
    const tookMs = nowMs - this.#sinceMs
    if (tookMs < MEASURE_MS) return
    const wantedBytes = (this.#movedBytes / tookMs) * HORIZON_MS
    // A moment in which nothing came says little.
    this.#maxBytes = Math.min(MAX_BYTES, Math.max(MIN_BYTES, this.#maxBytes / 2, wantedBytes))
    this.#movedBytes = 0
    this.#sinceMs = nowMs
  }

  #serve(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const isFull = this.#usedBytes + first.byteCount > this.#maxBytes
      if (isFull && this.#usedBytes > 0) return
      this.#waiting.shift()
      this.#usedBytes += first.byteCount
      first.resolve()
    }
  }
}
