import type { HeaderList } from '../../../protocol/codec/heads.ts'
import { asBuffer } from '../../../protocol/node/pumps.ts'
import { bodyLengthWrong } from '../errors.ts'
import { trailersText } from './request-head.ts'

/** What takes the body of a request: its connection. */
export interface BodySink {
  write(bytes: Buffer): boolean
  endBody(trailers?: string): void
}

/**
 * The body of a request, from its stream to its connection: the stream gets credit as the connection takes the bytes.
 * Until there is a connection they are kept, inside the stream's window.
 */
export class RequestBody {
  readonly #consumed: (byteCount: number) => void
  readonly #early: Buffer[] = []
  #sink: BodySink | undefined
  #declaredBytes: number | undefined
  #discarding = false
  #ended = false
  #trailers: HeaderList = []
  /** Given to the connection, which asked to wait, and not credited yet. */
  #heldBytes = 0
  byteCount = 0

  constructor(consumed: (byteCount: number) => void) {
    this.#consumed = consumed
  }

  get ended(): boolean {
    return this.#ended
  }

  /** The connection has asked to wait. */
  get isHeld(): boolean {
    return this.#heldBytes > 0
  }

  /** @throws {TunnelError} FRAME_INVALID when it is longer than declared */
  data(bytes: Uint8Array): void {
    this.byteCount += bytes.length
    if (this.#discarding) this.#consumed(bytes.length)
    else if (this.#sink === undefined) this.#early.push(asBuffer(bytes))
    else this.#write(this.#sink, asBuffer(bytes))
  }

  /** @throws {TunnelError} FRAME_INVALID when it is shorter than declared */
  end(trailers: HeaderList = []): void {
    this.#ended = true
    this.#trailers = trailers
    if (this.#sink !== undefined && !this.#discarding) this.#complete(this.#sink)
  }

  /** @throws {TunnelError} FRAME_INVALID when what is here has another length than declared */
  attach(sink: BodySink, declaredBytes: number | undefined): void {
    this.#sink = sink
    this.#declaredBytes = declaredBytes
    for (const bytes of this.#early.splice(0)) this.#write(sink, bytes)
    if (this.#ended) this.#complete(sink)
  }

  /** The connection takes more. */
  drained(): void {
    const bytes = this.#heldBytes
    this.#heldBytes = 0
    if (bytes > 0) this.#consumed(bytes)
  }

  /** All of it, where it has ended: nothing is credited, for nothing more will come. */
  whole(): Buffer {
    const [only] = this.#early
    return this.#early.length === 1 && only !== undefined ? only : Buffer.concat(this.#early)
  }

  /** Nobody wants it any more: what still comes is taken and dropped, so that the peer gets to its end. */
  discard(): void {
    if (this.#discarding) return
    this.#discarding = true
    const bytes = this.#heldBytes + this.#early.splice(0).reduce((sum, chunk) => sum + chunk.length, 0)
    this.#heldBytes = 0
    if (bytes > 0) this.#consumed(bytes)
  }

  #write(sink: BodySink, bytes: Buffer): void {
    if (this.#declaredBytes !== undefined && this.byteCount > this.#declaredBytes)
      throw bodyLengthWrong(this.#declaredBytes, this.byteCount)
    if (sink.write(bytes)) this.#consumed(bytes.length)
    else this.#heldBytes += bytes.length
  }

  #complete(sink: BodySink): void {
    if (this.#declaredBytes !== undefined && this.byteCount !== this.#declaredBytes)
      throw bodyLengthWrong(this.#declaredBytes, this.byteCount)
    sink.endBody(trailersText(this.#trailers))
  }
}
