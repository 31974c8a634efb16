import { TunnelError } from '../codec/errors.ts'
import { headCost } from '../codec/head-cost.ts'
import type { IncomingOpen, IncomingResume } from '../link/handlers.ts'
import type { Link } from '../link/link.ts'

/** What a stream that waits or is relayed holds beside what was said of it: objects, and a place or two. */
const WAITING_BYTES = 4_096

/** What an OPEN or RESUME costs while it is held, whoever holds it. */
export function incomingCost(incoming: IncomingOpen | IncomingResume): number {
  const firstBytes = 'first' in incoming ? incoming.first.length : 0
  return WAITING_BYTES + headCost(incoming.head, incoming.headBytes) + firstBytes
}

/**
 * What one user's relayed streams hold in this process. Part of it is taken for as long as a stream is relayed, whether
 * or not it has found its way yet: a stream for which there is no room is refused. The rest is what waits for slow
 * links. Beyond the limit the user's links that bring more are not read, until half of it has left; a link that brings
 * other users' streams too is read on, and the stream that brings more is suspended. Memory is bounded, and nothing is lost.
 */
export class RelayMemory {
  /** As `Budget.totalBytes`. */
  limitBytes: number
  readonly #held = new Set<Link>()
  #takenBytes = 0
  #queuedBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#takenBytes + this.#queuedBytes
  }

  /** The same as a share of what it may be; above 1 until links that were held have emptied it. */
  get usedShare(): number {
    return this.usedBytes / this.limitBytes
  }

  /**
   * For a stream that is relayed; at most half of the limit, so that what is under way can still move.
   * @throws {TunnelError} TOO_MANY_STREAMS when there is no room
   */
  take(bytes: number): void {
    if (this.#takenBytes + bytes > this.limitBytes / 2) {
      throw new TunnelError('TOO_MANY_STREAMS', "the user's streams hold all the memory that they may", {
        hop: 'link',
      })
    }
    this.#takenBytes += bytes
  }

  give(bytes: number): void {
    this.#takenBytes -= bytes
    this.#letGo()
  }

  /** There is more than there may be. */
  get isOverfull(): boolean {
    return this.usedBytes > this.limitBytes
  }

  /** What waits for a slow link; `from` is the link that brought it, where that may be held for it. */
  add(bytes: number, from: Link | undefined): void {
    this.#queuedBytes += bytes
    if (from === undefined || !this.isOverfull || this.#held.has(from) || from.closed) return
    this.#held.add(from)
    from.hold()
  }

  remove(bytes: number): void {
    this.#queuedBytes -= bytes
    this.#letGo()
  }

  #letGo(): void {
    if (this.#held.size === 0 || this.#queuedBytes > (this.limitBytes - this.#takenBytes) / 2) return
    for (const link of this.#held) link.unhold()
    this.#held.clear()
  }
}
