import type { HeaderList, HttpResponseHead } from '../../../protocol/codec/heads.ts'
import { type Expected, type Framing, parseHead, parseTrailers, ResponseError } from './response-head.ts'

/** Where a response goes. None of these may throw. */
export interface ResponseHandler {
  /** A response that comes before the head (1xx). */
  interim?(head: HttpResponseHead): void
  /** Once. 101: what follows are the bytes of another protocol, up to the end of the connection. */
  head(head: HttpResponseHead): void
  data(bytes: Buffer): void
  /** Where they are expected, and there are some. */
  trailers?(fields: HeaderList): void
  /** Complete. */
  end(): void
}

/** For a head, and for all trailers together, in bytes. */
const MAX_HEAD_BYTES = 65_536
/** For the line before a chunk: its size and what may be said beside it. */
const MAX_CHUNK_LINE_BYTES = 4_096
/** More before a response are a flood, which nobody's window holds back. */
const MAX_INTERIM = 32
const LF = 10
const CR = 13

type State =
  /** No response is expected. */
  | 'idle'
  | 'head'
  /** `#left` bytes of body, and nothing behind them. */
  | 'length'
  | 'untilClose'
  | 'chunkLine'
  /** `#left` bytes of a chunk. */
  | 'chunk'
  | 'chunkEnd'
  | 'trailers'

/** The responses of one connection, one after the other (RFC 9112). What it throws ends the connection. */
export class ResponseParser {
  #state: State = 'idle'
  #method = ''
  #handler: ResponseHandler | undefined
  #expected: Expected = {}
  #interim = 0
  /** A head or a line that has not come to its end. */
  #parts: Buffer[] = []
  #partBytes = 0
  /** Of the line that is being read, without CR and LF. */
  #lineBytes = 0
  #left = 0
  #begun = false
  #persistent = true
  #keepAliveMs: number | undefined

  /** No response is under way. */
  get idle(): boolean {
    return this.#state === 'idle'
  }

  /** The last response left the connection for another one. */
  get persistent(): boolean {
    return this.#persistent
  }

  /** What the service says of how long it keeps an idle connection. */
  get keepAliveMs(): number | undefined {
    return this.#keepAliveMs
  }

  /** A request has been sent: its response is next. */
  expect(method: string, handler: ResponseHandler, expected: Expected = {}): void {
    this.#state = 'head'
    this.#expected = expected
    this.#interim = 0
    this.#method = method
    this.#handler = handler
    this.#begun = false
    this.#lineBytes = 0
  }

  /** @throws {ResponseError} what comes is not HTTP, or nobody has asked for it */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) at = this.#step(chunk, at)
  }

  /** The connection has ended. @throws {ResponseError} in the middle of a response */
  finish(): void {
    if (this.#state === 'untilClose') return this.#complete()
    if (this.#state === 'idle') return
    throw new ResponseError(
      this.#begun
        ? 'closed the connection before its response was complete'
        : 'closed the connection without a response',
    )
  }

  #step(chunk: Buffer, at: number): number {
    switch (this.#state) {
      case 'idle':
        this.#persistent = false
        throw new ResponseError('sent more than its response')
      case 'head':
        return this.#takeHead(chunk, at)
      case 'length':
      case 'chunk':
        return this.#takeBytes(chunk, at)
      case 'untilClose':
        this.#handler?.data(at === 0 ? chunk : chunk.subarray(at))
        return chunk.length
      case 'chunkLine':
        return this.#takeChunkLine(chunk, at)
      case 'chunkEnd':
        return this.#takeChunkEnd(chunk, at)
      case 'trailers':
        return this.#takeTrailers(chunk, at)
    }
  }

  #takeHead(chunk: Buffer, from: number): number {
    let at = from
    // Empty lines before a status line are passed over (RFC 9112, section 2.2).
    if (!this.#begun) {
      while (at < chunk.length && (chunk[at] === LF || chunk[at] === CR)) at++
      if (at === chunk.length) return at
      this.#begun = true
    }
    const end = this.#endOfLines(chunk, at, MAX_HEAD_BYTES, 'its response head')
    const bytes = this.#collect(chunk, at, end ?? chunk.length, end !== undefined)
    if (bytes === undefined || end === undefined) return chunk.length
    this.#headComplete(bytes)
    return end
  }

  /** Behind the empty line that ends a head or trailers; undefined where that has not come. */
  #endOfLines(chunk: Buffer, from: number, maxBytes: number, what: string): number | undefined {
    const last = Math.min(chunk.length, from + maxBytes - this.#partBytes)
    for (let at = from; at < last; at++) {
      const byte = chunk[at]
      if (byte === LF) {
        if (this.#lineBytes === 0) return at + 1
        this.#lineBytes = 0
      } else if (byte !== CR) {
        this.#lineBytes++
      }
    }
    if (last < chunk.length) throw new ResponseError(`sent more than ${maxBytes} bytes as ${what}`)
    return undefined
  }

  /** All that has been collected, once it is complete. */
  #collect(chunk: Buffer, from: number, to: number, complete: boolean): Buffer | undefined {
    const bytes = chunk.subarray(from, to)
    if (complete && this.#parts.length === 0) return bytes
    this.#parts.push(bytes)
    this.#partBytes += bytes.length
    if (!complete) return undefined
    const all = Buffer.concat(this.#parts)
    this.#parts = []
    this.#partBytes = 0
    return all
  }

  #headComplete(bytes: Buffer): void {
    const { head, framing, persistent, keepAliveMs } = parseHead(
      bytes.toString('latin1'),
      this.#method,
      this.#expected,
    )
    this.#lineBytes = 0
    if (head.status < 200 && head.status !== 101) {
      if (++this.#interim > MAX_INTERIM)
        throw new ResponseError(`sent more than ${MAX_INTERIM} interim responses`)
      this.#handler?.interim?.(head)
      // The head that follows begins like any other, though something of the answer is here.
      return
    }
    this.#persistent = persistent
    this.#keepAliveMs = keepAliveMs
    this.#handler?.head(head)
    this.#body(framing)
  }

  #body(framing: Framing): void {
    if (framing === 'chunked') this.#state = 'chunkLine'
    else if (framing === 'untilClose') this.#state = 'untilClose'
    else if (framing === 0) this.#complete()
    else {
      this.#state = 'length'
      this.#left = framing
    }
  }

  #takeBytes(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#left)
    this.#left -= end - at
    this.#handler?.data(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end))
    if (this.#left > 0) return end
    if (this.#state === 'length') this.#complete()
    else this.#state = 'chunkEnd'
    return end
  }

  #takeChunkLine(chunk: Buffer, at: number): number {
    const lineEnd = chunk.indexOf(LF, at)
    const end = lineEnd < 0 ? chunk.length : lineEnd + 1
    if (this.#partBytes + end - at > MAX_CHUNK_LINE_BYTES)
      throw new ResponseError('sent a chunk whose size is not HTTP')
    const bytes = this.#collect(chunk, at, end, lineEnd >= 0)
    if (bytes === undefined) return end
    const size = /^([0-9a-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r?\n$/i.exec(bytes.toString('latin1'))?.[1]
    if (size === undefined) throw new ResponseError('sent a chunk whose size is not HTTP')
    this.#left = Number.parseInt(size, 16)
    this.#state = this.#left === 0 ? 'trailers' : 'chunk'
    return end
  }

  #takeChunkEnd(chunk: Buffer, at: number): number {
    const byte = chunk[at]
    if (byte === LF) this.#state = 'chunkLine'
    else if (byte !== CR || this.#lineBytes > 0)
      throw new ResponseError('sent a chunk that is not as long as it says')
    this.#lineBytes = byte === CR ? 1 : 0
    return at + 1
  }

  #takeTrailers(chunk: Buffer, at: number): number {
    const end = this.#endOfLines(chunk, at, MAX_HEAD_BYTES, 'its trailers')
    const bytes = this.#collect(chunk, at, end ?? chunk.length, end !== undefined)
    if (bytes === undefined || end === undefined) return chunk.length
    if (this.#expected.trailers) {
      const fields = parseTrailers(bytes.toString('latin1'))
      if (fields.length > 0) this.#handler?.trailers?.(fields)
    }
    this.#complete()
    return end
  }

  #complete(): void {
    this.#state = 'idle'
    const handler = this.#handler
    this.#handler = undefined
    handler?.end()
  }
}
