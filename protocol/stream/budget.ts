/**
 * Memory shared by streams, such as all of one user's. What is taken is given back by who took it. Growth beyond what a
 * stream needs at first may use half of it: a few streams that once were busy must not keep out all others.
 */
export class Budget {
  /** Less than is used takes nothing back; nothing more is given out until enough has come back. */
  totalBytes: number
  #usedBytes = 0
  #grownBytes = 0

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

  /** The same, for a window that grows. */
  grow(bytes: number): boolean {
    if (this.#grownBytes + bytes > this.totalBytes / 2 || !this.take(bytes)) return false
    this.#grownBytes += bytes
    return true
  }

  shrink(bytes: number): void {
    this.#grownBytes -= bytes
    this.give(bytes)
  }
}
