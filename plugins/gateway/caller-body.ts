import type { Readable } from 'node:stream'

/** How far a caller may be ahead of the service, in bytes. */
export const WINDOW_BYTES = 65_536
/** A piece of fewer bytes costs more to pass on than it holds. */
const SMALL_BYTES = 64

export interface BodyHandlers {
  data(bytes: Buffer): void
  ended(): void
}

/** What a caller sends behind the head of a request. Small pieces that come together are told together. */
export class CallerBody {
  readonly #source: Readable
  readonly #handlers: BodyHandlers
  #unreadBytes = 0
  /** What has come in this turn of the event loop, behind a first small piece. */
  #together: Buffer[] = []
  #isGathering = false
  #isDropped = false

  constructor(source: Readable, handlers: BodyHandlers) {
    this.#source = source
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
    if (this.#unreadBytes < WINDOW_BYTES / 2 && this.#source.isPaused()) this.#source.resume()
  }

  /** What still comes is read and dropped. */
  drop(): void {
    this.#isDropped = true
    this.#together = []
    this.#source.resume()
  }

  #came(bytes: Buffer): void {
    if (this.#isDropped) return
    this.#unreadBytes += bytes.length
    if (this.#unreadBytes >= WINDOW_BYTES) this.#source.pause()
    if (bytes.length < SMALL_BYTES) {
      if (this.#isGathering) return void this.#together.push(bytes)
      // One that comes alone waits for nothing.
      this.#isGathering = true
      setImmediate(this.#endTurn)
    }
    this.#tellTogether()
    this.#handlers.data(bytes)
  }

  readonly #endTurn = (): void => {
    this.#isGathering = false
    this.#tellTogether()
  }

  #tellTogether(): void {
    if (this.#together.length === 0) return
    const bytes = Buffer.concat(this.#together)
    this.#together = []
    this.#handlers.data(bytes)
  }
}
