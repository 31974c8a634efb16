/** Measures the longest time in which nothing moved. */
export class StallWatch {
  #lastMs = performance.now()
  #longestMs = 0
  #hasMoved = false

  /** Begins anew. */
  start(): void {
    this.#lastMs = performance.now()
    this.#longestMs = 0
    this.#hasMoved = false
  }

  /** Something has moved. */
  moved(): void {
    const nowMs = performance.now()
    this.#longestMs = Math.max(this.#longestMs, nowMs - this.#lastMs)
    this.#lastMs = nowMs
    this.#hasMoved = true
  }

  /** Since `start`, the present stall included; 0 for what never moved at all. */
  longestMs(): number {
    if (!this.#hasMoved) return 0
    return Math.max(this.#longestMs, performance.now() - this.#lastMs)
  }
}
