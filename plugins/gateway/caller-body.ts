import type { Readable } from 'node:stream'
import { FREE_PIECES, type Hold, SMALL_PIECE_BYTES } from './piece-turns.ts'

/** How far a caller may be ahead of the service, in bytes. */
export const WINDOW_BYTES = 65_536

export interface BodyHandlers {
  data(bytes: Buffer): void
  ended(): void
}

/**
 * What a caller sends behind the head of a request. Small pieces that come together are told together; of a caller that has
 * sent too many at once nothing is read for a while.
 */
export class CallerBody {
  readonly #source: Readable
  readonly #handlers: BodyHandlers
  readonly #hold: Hold
  #unreadBytes = 0
  /** What has come in this turn of the event loop, behind a first small piece. */
  #together: Buffer[] = []
  #smallPieces = 0
  #isHeld = false
  #isDropped = false

  /** @param hold calls back when the body may be read again, of which so many small pieces have come at once */
  constructor(source: Readable, hold: Hold, handlers: BodyHandlers) {
    this.#source = source
    this.#hold = hold
    this.#handlers = handlers
  }

  /** @param first what has been read of it already */
  read(first?: Buffer): void {
    this.#source.on('data', (bytes: Buffer) => this.#came(bytes))
    this.#source.once('end', () => {
      this.#tellTogether()
      this.#handlers.ended()
    })
    if (first !== undefined && first.length > 0) this.#came(first)
  }

  consumed(byteCount: number): void {
    this.#unreadBytes -= byteCount
    if (this.#unreadBytes < WINDOW_BYTES / 2) this.#goOn()
  }

  /** What still comes is read and dropped. */
  drop(): void {
    this.#isDropped = true
    this.#unreadBytes = 0
    this.#together = []
    if (!this.#isHeld) this.#source.resume()
  }

  #came(bytes: Buffer): void {
    const isSmall = bytes.length < SMALL_PIECE_BYTES
    if (isSmall && this.#smallPieces++ === 0) setImmediate(this.#endTurn)
    if (this.#isDropped) return
    this.#unreadBytes += bytes.length
    if (this.#unreadBytes >= WINDOW_BYTES) this.#source.pause()
    // One that comes alone waits for nothing.
    if (isSmall && this.#smallPieces > 1) return void this.#together.push(bytes)
    this.#tellTogether()
    this.#handlers.data(bytes)
  }

  readonly #endTurn = (): void => {
    const pieces = this.#smallPieces
    this.#smallPieces = 0
    this.#tellTogether()
    if (pieces <= FREE_PIECES) return
    this.#isHeld = true
    this.#source.pause()
    this.#hold(pieces, () => {
      this.#isHeld = false
      if (this.#unreadBytes < WINDOW_BYTES) this.#goOn()
    })
  }

  #tellTogether(): void {
    if (this.#together.length === 0) return
    const bytes = Buffer.concat(this.#together)
    this.#together = []
    this.#handlers.data(bytes)
  }

  #goOn(): void {
    if (!this.#isHeld && this.#source.isPaused()) this.#source.resume()
  }
}
