/** How many bytes all files together may have under way: what is read and not yet written is in memory. */
export class ByteWindow {
  readonly #maxBytes: number
  readonly #waiting: { byteCount: number; resolve: () => void }[] = []
  #usedBytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Waits for room, in turn. */
  take(byteCount: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ byteCount, resolve })
      this.#serve()
    })
  }

  give(byteCount: number): void {
    this.#usedBytes -= byteCount
    this.#serve()
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
