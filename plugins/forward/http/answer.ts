import type { HttpResponseHead } from '../../../protocol/codec/heads.ts'
import type { ByteStream } from '../../../protocol/stream/byte-stream.ts'

/** Whoever waits for a response to be on its way. */
interface AnswerOwner {
  /** The stream has been accepted. */
  accepted(): void
  /** The last of the response has been written. */
  answered(): void
  /** The stream has enough of it for now; then, that it takes more. */
  pause(): void
  resume(): void
}

/**
 * A response on its way into its stream. What the service sent in one piece is parsed in one turn, and leaves in one frame
 * with the head.
 */
export class Answer {
  readonly #stream: ByteStream
  readonly #owner: AnswerOwner
  /** The head, and what came with it, until they leave. */
  #first: { head: HttpResponseHead; chunks: Buffer[]; ended: boolean } | undefined
  #accepted = false
  #paused = false

  constructor(stream: ByteStream, owner: AnswerOwner) {
    this.#stream = stream
    this.#owner = owner
  }

  /** The stream has enough of it for now. */
  get isPaused(): boolean {
    return this.#paused
  }

  /** Accepts the stream before there is a head, so that its opener sends the body. */
  accept(): void {
    this.#accepted = true
    this.#stream.accept()
    this.#owner.accepted()
  }

  head(head: HttpResponseHead): void {
    if (this.#accepted) return this.#stream.event({ http: head })
    this.#first = { head, chunks: [], ended: false }
    queueMicrotask(() => this.#leave())
  }

  data(chunk: Buffer): void {
    if (this.#first !== undefined) return void this.#first.chunks.push(chunk)
    if (this.#stream.write(chunk)) return
    this.#paused = true
    this.#owner.pause()
  }

  /** The stream takes more. */
  drained(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#owner.resume()
  }

  end(): void {
    if (this.#first !== undefined) {
      this.#first.ended = true
      return
    }
    this.#stream.end()
    this.#owner.answered()
  }

  /** The stream is over: nothing more leaves. */
  stop(): void {
    this.#first = undefined
  }

  #leave(): void {
    const first = this.#first
    if (first === undefined) return
    this.#first = undefined
    this.#accepted = true
    const { head, chunks, ended } = first
    this.#stream.accept({ http: head }, chunks.length > 1 ? Buffer.concat(chunks) : chunks[0], ended)
    this.#owner.accepted()
    if (ended) this.#owner.answered()
  }
}
