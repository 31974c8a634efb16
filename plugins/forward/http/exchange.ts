import { PassThrough } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { TunnelError } from '../../../protocol/codec/errors.ts'
import type { HttpRequestHead, HttpResponseHead, Priority } from '../../../protocol/codec/heads.ts'
import type { TunnelStream } from '../../../protocol/stream/stream.ts'
import { exchangeFailed, headTimeout, requestGone } from '../errors.ts'
import { LINGER_MS, StreamToWritable } from '../pumps.ts'
import type { ServeContext, Served } from '../serve.ts'
import type { HttpConnection } from './connection.ts'
import { hasHeader, requestHeaders, responseHeaders } from './headers.ts'
import type { HttpOrigin, Waiting } from './origin.ts'

/** Methods whose request has no body unless one shows itself: for these the first byte or the end is waited for. */
const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE'])

/** One request and its response, between a stream and a keep-alive connection. */
export class HttpExchange implements Waiting, Dispatcher.DispatchHandler {
  readonly priority: Priority
  /** The stream is over. */
  readonly served: Promise<Served>
  readonly #stream: TunnelStream
  readonly #request: HttpRequestHead
  readonly #context: ServeContext
  readonly #origin: HttpOrigin
  readonly #authority: string
  readonly #startedMs = performance.now()
  readonly #inlet: StreamToWritable
  /** The body as it comes; absent where the whole request was there at once. */
  #body: PassThrough | undefined
  #onFirst: (() => void) | undefined
  #controller: Dispatcher.DispatchController | undefined
  #connection: HttpConnection | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #linger: ReturnType<typeof setTimeout> | undefined
  /** The head, and what came with it, until they leave in one frame. */
  #answer: { head: HttpResponseHead; chunks: Buffer[]; ended: boolean } | undefined
  #accepted = false
  #headSent = false
  #responded = false
  #paused = false
  #bytesOut = 0
  #over: TunnelError | 'ended' | undefined

  constructor(
    stream: TunnelStream,
    request: HttpRequestHead,
    context: ServeContext,
    origin: HttpOrigin,
    authority: string,
  ) {
    this.#stream = stream
    this.#request = request
    this.#context = context
    this.#origin = origin
    this.#authority = authority
    this.priority = stream.head.priority ?? 'normal'
    this.#inlet = new StreamToWritable(stream)
    this.served = new Promise((resolve) => {
      stream.handle({
        data: (bytes) => this.#received(bytes),
        aux: (bytes) => stream.consumed(bytes.length),
        ended: () => this.#requestEnded(),
        drained: () => this.#drained(),
        closed: (error) => {
          this.#closed(error)
          resolve({ error, bytesIn: this.#inlet.byteCount, bytesOut: this.#bytesOut })
        },
      })
    })
  }

  /** Asks for a connection. */
  begin(): void {
    if (this.#over !== undefined) return
    if (!this.#inlet.ended) {
      // The body is still to come: it may only come once the stream has been accepted.
      this.#accepted = true
      this.#stream.accept()
      const { method, headers } = this.#request
      const mayBeEmpty = BODILESS.has(method.toUpperCase()) && !hasHeader(headers, 'content-length')
      if (mayBeEmpty && this.#inlet.byteCount === 0) {
        this.#onFirst = () => this.#origin.add(this)
        return
      }
    }
    this.#origin.add(this)
  }

  start(connection: HttpConnection): void {
    this.#connection = connection
    const opening = this.#context.onOpen()
    if (opening === undefined) return this.#send(connection)
    opening.then(
      () => this.#send(connection),
      (error: TunnelError) => {
        this.fail(error)
        this.#free()
      },
    )
  }

  fail(error: TunnelError): void {
    this.#stream.reset(error)
  }

  #send(connection: HttpConnection): void {
    if (this.#over !== undefined) return this.#free()
    const { timeoutMs, headers } = this.#context
    this.#timer = setTimeout(() => {
      this.fail(headTimeout(this.#authority, timeoutMs))
    }, timeoutMs).unref()
    connection.dispatch(
      {
        method: this.#request.method as Dispatcher.HttpMethod,
        path: this.#request.path,
        headers: requestHeaders(this.#request.headers, headers),
        body: this.#takeBody(),
      },
      this,
    )
  }

  #takeBody(): Buffer | PassThrough | null {
    if (!this.#inlet.ended) {
      const body = new PassThrough({ highWaterMark: 65_536 })
      this.#body = body
      body.on('error', () => {}).on('close', () => this.#inlet.discard())
      this.#inlet.attach(body)
      return body
    }
    return this.#inlet.takeAll()
  }

  #received(bytes: Uint8Array): void {
    this.#inlet.data(bytes)
    // As long as the body moves the response is not late.
    if (!this.#headSent) this.#timer?.refresh()
    this.#begun()
  }

  #requestEnded(): void {
    this.#inlet.end()
    if (!this.#headSent) this.#timer?.refresh()
    clearTimeout(this.#linger)
    this.#begun()
  }

  #begun(): void {
    const onFirst = this.#onFirst
    this.#onFirst = undefined
    onFirst?.()
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#over !== undefined) controller.abort(requestGone())
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    statusText?: string,
  ): void {
    // Interim responses speak of this connection and its waiting.
    if (status < 200) return
    clearTimeout(this.#timer)
    this.#headSent = true
    this.#context.onHead(performance.now() - this.#startedMs)
    const raw = (controller as { rawHeaders?: (Buffer | string)[] | null }).rawHeaders ?? []
    const head: HttpResponseHead = { status, statusText: statusText ?? '', headers: responseHeaders(raw) }
    if (this.#accepted) return this.#stream.event({ http: head })
    // What the service sent in one piece is parsed in one turn, and leaves in one frame.
    this.#answer = { head, chunks: [], ended: false }
    queueMicrotask(() => this.#sendAnswer())
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytesOut += chunk.length
    if (this.#answer !== undefined) {
      this.#answer.chunks.push(chunk)
      return
    }
    if (this.#stream.write(chunk)) return
    this.#paused = true
    this.#connection?.pause()
  }

  onResponseEnd(): void {
    this.#responded = true
    if (this.#answer !== undefined) this.#answer.ended = true
    else this.#endStream()
    // By then undici has destroyed the connection where it is not to be used again.
    queueMicrotask(() => this.#free())
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    clearTimeout(this.#timer)
    this.fail(exchangeFailed(error, this.#authority))
    queueMicrotask(() => this.#free())
  }

  #sendAnswer(): void {
    const answer = this.#answer
    this.#answer = undefined
    if (answer === undefined || this.#over !== undefined) return
    this.#accepted = true
    const [only] = answer.chunks
    const first = answer.chunks.length > 1 ? Buffer.concat(answer.chunks) : only
    this.#stream.accept({ http: answer.head }, first, answer.ended)
    if (answer.ended) this.#afterEnd()
  }

  #endStream(): void {
    this.#stream.end()
    this.#afterEnd()
  }

  /** A response may be complete before its request is; what still comes of that is dropped. */
  #afterEnd(): void {
    this.#inlet.discard()
    if (this.#inlet.ended || this.#over !== undefined) return
    this.#linger = setTimeout(() => this.#stream.reset(requestGone()), LINGER_MS).unref()
  }

  #drained(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#connection?.resume()
  }

  #closed(error: TunnelError | undefined): void {
    this.#over = error ?? 'ended'
    clearTimeout(this.#timer)
    clearTimeout(this.#linger)
    this.#onFirst = undefined
    this.#body?.destroy()
    if (this.#connection === undefined) this.#origin.remove(this)
    else if (!this.#responded) this.#controller?.abort(error ?? requestGone())
  }

  #free(): void {
    const connection = this.#connection
    if (connection === undefined) return
    this.#connection = undefined
    this.#controller = undefined
    connection.done()
    this.#origin.free(connection)
  }
}
