import { asTunnelError, type TunnelError } from '../../../protocol/codec/errors.ts'
import type {
  HeaderList,
  HttpRequestHead,
  HttpResponseHead,
  Priority,
} from '../../../protocol/codec/heads.ts'
import type { ByteStream } from '../../../protocol/stream/byte-stream.ts'
import type { ChannelLease } from '../../pool/index.ts'
import { exchangeFailed, outcomeUnknown, placeNeeded, placeTaken } from '../errors.ts'
import type { ServeContext } from '../serve.ts'
import { Answer } from './answer.ts'
import type { ConnectionUser, HttpConnection } from './connection.ts'
import type { HttpOrigin } from './origin.ts'
import { OutgoingRequest } from './outgoing-request.ts'
import { Patience } from './patience.ts'
import { ResponseError } from './response-head.ts'
import { Turn } from './turn.ts'

/** One request and its response, between a stream and a keep-alive connection. */
export class HttpExchange implements ConnectionUser {
  readonly priority: Priority
  readonly request: OutgoingRequest
  readonly authority: string
  /** The stream is over. */
  readonly served: Promise<void>
  readonly #stream: ByteStream
  readonly #context: ServeContext
  readonly #turn: Turn
  readonly #answer: Answer
  readonly #patience: Patience
  #state: 'new' | 'undecided' | 'queued' | 'sent' | 'answering' | 'answered' = 'new'
  #over: TunnelError | 'ended' | undefined

  constructor(
    stream: ByteStream,
    request: HttpRequestHead,
    context: ServeContext,
    origin: HttpOrigin,
    authority: string,
  ) {
    this.#stream = stream
    this.request = new OutgoingRequest(stream, request)
    this.#context = context
    this.authority = authority
    this.priority = stream.head.priority ?? 'normal'
    this.#turn = new Turn(this, origin, context.names)
    this.#answer = new Answer(stream, {
      accepted: () => context.onAccepted(),
      answered: () => this.#afterEnd(),
      pause: () => this.#turn.connection?.pause(),
      resume: () => {
        if (this.#state !== 'answering') return
        this.#turn.connection?.resume()
        this.#patience.moved()
      },
    })
    this.#patience = new Patience(this, context)
    this.served = new Promise((resolve) => {
      stream.handle({
        data: (bytes) => this.#received(bytes),
        aux: (bytes) => stream.consumed(bytes.length),
        ended: () => this.#requestEnded(),
        drained: () => this.#answer.drained(),
        credited: () => this.#patience.moved(),
        suspended: () => this.#suspended(),
        resumed: () => this.#resumed(),
        closed: (error) => {
          this.#closed(error)
          resolve()
        },
      })
    })
  }

  get lease(): ChannelLease | undefined {
    return this.#turn.connection?.lease
  }

  get expects(): 'head' | 'body' | undefined {
    if (this.#over !== undefined) return undefined
    if (this.#state === 'sent' || this.#state === 'undecided') return 'head'
    return this.#state === 'answering' && !this.#answer.isPaused ? 'body' : undefined
  }

  /** For whoever gave its channel to another request; what had been sent may have been carried out. */
  get givenAway(): TunnelError {
    const { machine } = this.#context
    const isSent = this.#state === 'sent' || this.#state === 'answering'
    return isSent && !this.request.isIdempotent ? placeTaken(machine) : placeNeeded(machine)
  }

  /** Asks for a connection. */
  begin(): void {
    if (this.#over !== undefined) return
    this.request.settle()
    if (!this.request.isWhole && !this.request.isUpgrade) {
      // The body is still to come: it may only come once the stream has been accepted.
      this.#answer.accept()
      if (this.request.isUndecided) {
        this.#state = 'undecided'
        return this.#patience.moved()
      }
    }
    this.#queue()
  }

  /** A connection that another request has left may lead where this one may not go, by other rules or another token. */
  opening({ address }: HttpConnection): Promise<void> | undefined {
    if (address === undefined) return this.#context.onOpen()
    return this.#context.names.check([address]).then(() => this.#context.onOpen())
  }

  fail(error: TunnelError): void {
    this.#stream.reset(error)
  }

  #queue(): void {
    this.#state = 'queued'
    this.#patience.moved()
    if (!this.#patience.isAway) this.#turn.await()
  }

  send(connection: HttpConnection): void {
    if (this.#over !== undefined) return this.#turn.free()
    // It has closed meanwhile: nothing has been sent.
    if (!connection.usable) {
      this.#turn.free()
      return this.#queue()
    }
    this.#contained(() => {
      const send = this.request.prepare(this.authority, this.#context.headers)
      this.#state = 'sent'
      send(connection, this)
    })
    this.#patience.moved()
  }

  #received(bytes: Uint8Array): void {
    this.#context.carried('in', bytes.length)
    this.#contained(() => this.request.data(bytes))
    this.#patience.moved()
    this.#begun()
  }

  #requestEnded(): void {
    this.#contained(() => this.request.end())
    this.#patience.moved()
    this.#patience.stopLingering()
    this.#begun()
  }

  /** Whether there is a body shows now. */
  #begun(): void {
    if (this.#state !== 'undecided' || this.#over !== undefined) return
    this.request.settle()
    this.#queue()
  }

  drained(): void {
    this.request.drained()
    this.#patience.moved()
  }

  interim(head: HttpResponseHead): void {
    if (this.#over !== undefined) return
    this.#stream.peer?.interim(head)
    if (this.request.continues(head.status)) this.#patience.moved()
  }

  head(head: HttpResponseHead): void {
    if (this.#over !== undefined) return
    this.#state = 'answering'
    this.#patience.moved()
    this.#context.onHead()
    this.#answer.head(head)
    this.request.answered(head.status, this.#turn.connection)
  }

  trailers(fields: HeaderList): void {
    if (this.#over === undefined) this.#stream.peer?.trailers(fields)
  }

  data(chunk: Buffer): void {
    if (this.#over !== undefined) return
    this.#context.carried('out', chunk.length)
    this.#answer.data(chunk)
    this.#patience.moved()
  }

  end(): void {
    this.#state = 'answered'
    this.#patience.moved()
    if (this.#over === undefined) this.#answer.end()
    // What is left of this piece is parsed first: the service may have sent more than it may.
    queueMicrotask(() => this.#turn.free())
  }

  failed(cause: Error): void {
    const unanswered = this.#state === 'sent'
    const { isIdempotent, isWhole } = this.request
    const byService = cause instanceof ResponseError
    // A service may close a connection that it has kept just as the next request comes, or what it sent too much
    // of the last response may come as the answer to this one (RFC 9112, section 9.3.1).
    const again = byService && unanswered && this.#turn.connection?.reused === true && isIdempotent && isWhole
    if (again && this.#over === undefined) {
      this.#turn.wantFresh()
      this.#turn.free()
      return this.#queue()
    }
    const unknown = unanswered && !isIdempotent
    const error = unknown ? outcomeUnknown(this.authority, cause) : exchangeFailed(cause, this.authority)
    this.fail(error)
    this.#turn.free()
  }

  /** A response may be complete before its request is; what still comes of that is dropped. */
  #afterEnd(): void {
    this.request.discard()
    if (!this.request.ended && this.#over === undefined) this.#patience.linger()
  }

  /** The client's link is gone. A request that waits leaves its place to others; one that has a channel offers it. */
  #suspended(): void {
    this.#context.suspended()
    if (this.#state === 'queued') this.#turn.leave()
    this.#patience.suspended()
  }

  #resumed(): void {
    this.#context.resumed()
    this.#patience.resumed()
    if (this.#state === 'queued') this.#turn.await()
  }

  #closed(error: TunnelError | undefined): void {
    this.#over = error ?? 'ended'
    this.#patience.stop()
    this.#answer.stop()
    this.request.discard()
    const { connection } = this.#turn
    if (connection === undefined) return this.#turn.leave()
    // One that is still running a hook frees it itself.
    if (this.#state === 'answered' || this.#state === 'queued') return
    connection.close()
    this.#turn.free()
  }

  /** What cannot be sent ends the stream, and with it the connection. */
  #contained(send: () => void): void {
    try {
      send()
    } catch (error) {
      this.fail(asTunnelError(error, 'proxy'))
      if (this.#state === 'queued') this.#turn.free()
    }
  }
}
