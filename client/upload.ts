import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'

/** What a program may hand over as a body or as a command's input. */
export type BodyLike =
  | string
  | Uint8Array
  | ArrayBuffer
  | Blob
  | AsyncIterable<Uint8Array | string>
  | ReadableStream<Uint8Array>

/** The sending half of a stream, as far as an upload needs it. */
export interface UploadTarget {
  write(bytes: Uint8Array): boolean
  end(): void
  reset(error: TunnelError): void
}

/** Written at once, at most, so that a large buffer in memory meets backpressure too. */
const MAX_WRITE_BYTES = 65_536

const encoder = new TextEncoder()

/** The body as bytes where it is in memory already; of another realm too, as a test runner or a frame has. */
export function inMemory(body: unknown): Uint8Array | undefined {
  if (typeof body === 'string') return encoder.encode(body)
  if (body instanceof Uint8Array) return body
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
  const isBuffer = Object.prototype.toString.call(body) === '[object ArrayBuffer]'
  return isBuffer ? new Uint8Array(body as ArrayBuffer) : undefined
}

/** Nothing, or what can be sent. */
export function isBody(body: unknown): body is BodyLike | undefined {
  if (body === undefined || inMemory(body) !== undefined || isBlob(body)) return true
  return body instanceof ReadableStream || Symbol.asyncIterator in Object(body)
}

export function isBlob(body: unknown): body is Blob {
  return body instanceof Blob
}

/** How many bytes a body has, where that is known before it is read: then it can be sent again too. */
export function knownSize(body: BodyLike | undefined): number | undefined {
  if (body === undefined) return 0
  return isBlob(body) ? body.size : inMemory(body)?.length
}

/** A source of chunks that can be cancelled. */
interface Source extends AsyncIterable<Uint8Array | string> {
  cancel(): void
}

function sourceOf(body: BodyLike): Source {
  const bytes = inMemory(body)
  if (bytes !== undefined) return { cancel() {}, [Symbol.asyncIterator]: () => once(bytes) }
  const stream = isBlob(body) ? body.stream() : body
  // Before its own iterator, which would wait for a read that is under way.
  if (stream instanceof ReadableStream) {
    const reader = (stream as ReadableStream<Uint8Array>).getReader()
    return {
      cancel: () => void reader.cancel().catch(() => {}),
      [Symbol.asyncIterator]: () => read(reader),
    }
  }
  const iterator = (stream as AsyncIterable<Uint8Array | string>)[Symbol.asyncIterator]()
  return {
    // A generator that waits ends when its wait does; another source may end at once.
    cancel: () => void iterator.return?.().catch(() => {}),
    [Symbol.asyncIterator]: () => iterator,
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function* read(reader: ReadableStreamDefaultReader<Uint8Array>): AsyncGenerator<Uint8Array> {
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value
}

/** @throws {TunnelError} CONFIG_INVALID */
function bytesOf(chunk: unknown): Uint8Array {
  const bytes = inMemory(chunk)
  if (bytes !== undefined) return bytes
  const text = `body: it gave a piece of type ${typeof chunk}, which is neither text nor bytes`
  throw new TunnelError('CONFIG_INVALID', text, { hop: 'client' })
}

/** Carries a body up a stream, no faster than the stream takes it. */
export class Upload {
  readonly #target: UploadTarget
  readonly #onMoved: (() => void) | undefined
  #stopped = false
  #finished = false
  #resume: (() => void) | undefined
  #source: Source | undefined

  /** `onMoved` is called each time that the stream has taken some of the body. */
  constructor(target: UploadTarget, onMoved?: () => void) {
    this.#target = target
    this.#onMoved = onMoved
  }

  get finished(): boolean {
    return this.#finished
  }

  /** The stream takes bytes again. */
  drained(): void {
    const resume = this.#resume
    this.#resume = undefined
    resume?.()
  }

  /** The stream is over: reads no more of the body. */
  stop(): void {
    this.#stopped = true
    this.drained()
    if (!this.#finished) this.#source?.cancel()
  }

  /** Never rejects: a body that fails resets the stream, whose end says so. */
  async run(body: BodyLike): Promise<void> {
    try {
      this.#source = sourceOf(body)
      if (this.#stopped) return this.#source.cancel()
      for await (const chunk of this.#source) {
        const bytes = bytesOf(chunk)
        for (let at = 0; at < bytes.length && !this.#stopped; at += MAX_WRITE_BYTES) {
          if (!this.#target.write(bytes.subarray(at, at + MAX_WRITE_BYTES))) await this.#drain()
          this.#onMoved?.()
        }
        if (this.#stopped) return
      }
      this.#finished = true
      this.#target.end()
    } catch (error) {
      this.#target.reset(asTunnelError(error, 'client', 'ABORTED'))
    }
  }

  #drain(): Promise<void> {
    if (this.#stopped) return Promise.resolve()
    return new Promise((resolve) => {
      this.#resume = resolve
    })
  }
}
