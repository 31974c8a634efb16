/** Memory shared by streams, such as all of one user's. What is taken is given back by who took it. */
export class Budget {
  readonly totalBytes: number
  #usedBytes = 0

  constructor(totalBytes: number) {
    this.totalBytes = totalBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Whether there was room; if so it is taken. */
  take(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.totalBytes) return false
    this.#usedBytes += bytes
    return true
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes
  }
}
