import type { Readable, Writable } from 'node:stream'
import type { ByteStream } from '../stream/byte-stream.ts'

/** A view of the same memory, which Node's streams, ssh2 and undici take without a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

/**
 * From a stream to a writable: credit is given as the writable takes the bytes. Until a writable is attached the bytes
 * are kept, inside the stream's window.
 */
export class StreamToWritable {
  readonly #stream: Pick<ByteStream, 'consumed'>
  readonly #early: Buffer[] = []
  #writable: Writable | undefined
  #discarding = false
  #ended = false
  /** Given to the writable, which asked to wait, and not credited yet. */
  #heldBytes = 0
  byteCount = 0

  constructor(stream: Pick<ByteStream, 'consumed'>) {
    this.#stream = stream
  }

  get ended(): boolean {
    return this.#ended
  }

  data(bytes: Uint8Array): void {
    this.byteCount += bytes.length
    if (this.#discarding) this.#stream.consumed(bytes.length)
    else if (this.#writable === undefined) this.#early.push(asBuffer(bytes))
    else this.#write(this.#writable, asBuffer(bytes))
  }

  end(): void {
    this.#ended = true
    if (!this.#discarding) this.#writable?.end()
  }

  attach(writable: Writable): void {
    this.#writable = writable
    writable.on('drain', () => {
      const bytes = this.#heldBytes
      this.#heldBytes = 0
      if (bytes > 0) this.#stream.consumed(bytes)
    })
    for (const bytes of this.#early.splice(0)) this.#write(writable, bytes)
    if (this.#ended) writable.end()
  }

  /** The writable is gone: what still comes is taken and dropped, so that the peer gets to its end. */
  discard(): void {
    if (this.#discarding) return
    this.#discarding = true
    const bytes = this.#heldBytes + this.#early.splice(0).reduce((sum, chunk) => sum + chunk.length, 0)
    this.#heldBytes = 0
    if (bytes > 0) this.#stream.consumed(bytes)
  }

  #write(writable: Writable, bytes: Buffer): void {
    if (writable.write(bytes)) this.#stream.consumed(bytes.length)
    else this.#heldBytes += bytes.length
  }
}

/** From readables to a stream: one that the stream cannot take more from is paused until the stream has drained. */
export class ReadableToStream {
  readonly #paused = new Set<Readable>()
  byteCount = 0

  /** `write` is the stream's `write` or `writeAux`. */
  attach(readable: Readable, write: (bytes: Uint8Array) => boolean): void {
    readable.on('data', (bytes: Buffer) => {
      this.byteCount += bytes.length
      if (write(bytes)) return
      readable.pause()
      this.#paused.add(readable)
    })
  }

  drained(): void {
    for (const readable of this.#paused) {
      this.#paused.delete(readable)
      readable.resume()
    }
  }
}
