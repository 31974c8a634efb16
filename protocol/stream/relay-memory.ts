import type { Link } from '../link/link.ts'

/**
 * What one user's relayed streams have waiting in this process. Beyond its limit the links that bring more are not
 * read, until half of it has left: memory is bounded, and nothing is lost.
 */
export class RelayMemory {
  readonly #limitBytes: number
  readonly #held = new Set<Link>()
  #usedBytes = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** `from` is the link that brought them. */
  add(bytes: number, from: Link): void {
    this.#usedBytes += bytes
    if (this.#usedBytes <= this.#limitBytes || this.#held.has(from) || from.closed) return
    this.#held.add(from)
    from.hold()
  }

  remove(bytes: number): void {
    this.#usedBytes -= bytes
    if (this.#held.size === 0 || this.#usedBytes > this.#limitBytes / 2) return
    for (const link of this.#held) link.unhold()
    this.#held.clear()
  }
}
