/** A piece of a body that is smaller costs more to take out of its framing than it is worth, in bytes. */
export const SMALL_PIECE_BYTES = 64
/** So many of them may one turn of the event loop bring: half a millisecond. */
export const FREE_PIECES = 500
/** What a further one costs, in ms: Node takes it out of its framing before anybody can say stop. */
const PIECE_MS = 0.0015
/** Of a core, one part in so many is for the small pieces of one user. */
const SHARE = 20

/** Calls `goOn` when a body may be read again that has brought so many small pieces in one turn. */
export type Hold = (pieces: number, goOn: () => void) => void

/**
 * When bodies are read that come in small pieces. What one read of a connection has brought is told piece by piece before
 * anybody else is served; of pieces of one byte 64 KiB hold 10,000, which take 15 ms. How often that happens is bounded for
 * each user.
 */
export class PieceTurns {
  /** Bodies that are held, by their users. */
  readonly #held = new Map<string, number>()

  hold(userId: string, pieces: number, goOn: () => void): void {
    const held = (this.#held.get(userId) ?? 0) + 1
    this.#held.set(userId, held)
    const release = (): void => {
      const left = (this.#held.get(userId) ?? 1) - 1
      if (left > 0) this.#held.set(userId, left)
      else this.#held.delete(userId)
      goOn()
    }
    // One after the other, so that those of one user are not read in the same turn again.
    setTimeout(release, (pieces - FREE_PIECES) * PIECE_MS * SHARE * held).unref()
  }
}
