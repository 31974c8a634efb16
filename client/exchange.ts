import { TunnelError } from '../protocol/codec/errors.ts'
import type { AcceptHead, HttpResponseHead, StreamEvent } from '../protocol/codec/heads.ts'
import type { StreamHandlers } from '../protocol/stream/event-buffer.ts'
import { type NewStreamHead, type OpenStream, openWithBody } from './opening.ts'
import type { Progress } from './outcome.ts'
import { ResponseBody } from './response-body.ts'
import type { BodyLike, Upload, UploadTarget } from './upload.ts'

/** What of a stream an exchange needs; a TunnelStream, or a test's. */
export interface ExchangeStream extends UploadTarget {
  /** When its OPEN was first handed to a link; undefined while it was not. */
  readonly openedAtMs: number | undefined
  /** It ended because it could not go on over another link. */
  readonly endedResuming: boolean
  handle(handlers: StreamHandlers): void
  event?(event: StreamEvent): void
  consumed(byteCount: number): void
  reset(error: TunnelError): void
}

/** One HTTP request on one stream, once. */
export class Exchange {
  readonly stream: ExchangeStream
  readonly body: ResponseBody
  /** The response head; rejects when the stream ends without one. */
  readonly head: Promise<HttpResponseHead>
  readonly #upload: Upload
  readonly #onOver: (answered: boolean) => void
  #settle!: { resolve: (head: HttpResponseHead) => void; reject: (error: TunnelError) => void }
  #headSeen = false

  /**
   * @param onOver the stream is over and its place on the link is free; whether it had a response head
   * @param onMoved the stream has taken some of the body
   */
  constructor(
    open: OpenStream,
    head: NewStreamHead,
    body: BodyLike | undefined,
    onOver: (answered: boolean) => void,
    onMoved?: () => void,
  ) {
    this.#onOver = onOver
    this.head = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    const { stream, upload, rides, startUpload } = openWithBody(open, head, body, onMoved)
    this.stream = stream
    this.#upload = upload
    this.body = new ResponseBody(stream)
    stream.handle(this.#handlers(rides))
    startUpload()
  }

  /** Our direction has not been read to its end. */
  get uploading(): boolean {
    return !this.#upload.finished
  }

  /** How far it came. */
  get progress(): Progress {
    if (this.stream.openedAtMs === undefined) return 'unsent'
    return this.#headSeen || this.stream.endedResuming ? 'begun' : 'sent'
  }

  /** Its head has come, whatever became of the rest. */
  get isAnswered(): boolean {
    return this.#headSeen
  }

  #handlers(rides: boolean): StreamHandlers {
    return {
      accepted: (head: AcceptHead) => {
        if (head.http !== undefined) this.#answered(head.http)
      },
      event: (event) => {
        if ('http' in event) this.#answered(event.http)
      },
      data: (bytes) => this.body.push(bytes),
      drained: () => this.#upload.drained(),
      ended: () => {
        if (!this.#headSeen) {
          this.stream.reset(new TunnelError('FRAME_INVALID', 'the answer has no head', { hop: 'proxy' }))
          return
        }
        this.body.end()
        // The response is complete, so the rest of the request is not sent.
        if (!rides && this.uploading)
          this.stream.reset(
            new TunnelError('ABORTED', 'answered before the request ended', { hop: 'client' }),
          )
      },
      closed: (error) => {
        this.#upload.stop()
        // In order, a stream is over only after `ended`: nothing is left to fail.
        if (error !== undefined) {
          this.body.fail(error)
          this.#settle.reject(error)
        }
        this.#onOver(this.#headSeen)
      },
    }
  }

  #answered(head: HttpResponseHead): void {
    if (this.#headSeen) return
    this.#headSeen = true
    this.#settle.resolve(head)
  }
}
