import { asTunnelError, type TunnelError } from '../../../protocol/codec/errors.ts'
import type {
  HeaderList,
  HttpRequestHead,
  HttpResponseHead,
  Priority,
} from '../../../protocol/codec/heads.ts'
import { LINGER_MS } from '../../../protocol/node/join.ts'
import type { ByteStream } from '../../../protocol/stream/byte-stream.ts'
import {
  exchangeFailed,
  headTimeout,
  outcomeUnknown,
  placeNeeded,
  placeTaken,
  requestGone,
} from '../errors.ts'
import { AWAY_MS, type ServeContext } from '../serve.ts'
import { Answer } from './answer.ts'
import type { ConnectionUser, HttpConnection } from './connection.ts'
import type { HttpOrigin, Waiting } from './origin.ts'
import { RequestBody } from './request-body.ts'
import {
  type BodyFraming,
  declaredLength,
  framingOfWhole,
  isIdempotent,
  mayBeBodiless,
  requestText,
  upgradeAsked,
} from './request-head.ts'
import { ResponseError } from './response-head.ts'

/** One request and its response, between a stream and a keep-alive connection. */
export class HttpExchange implements Waiting, ConnectionUser {
  readonly priority: Priority
  /** The stream is over. */
  readonly served: Promise<void>
  readonly #stream: ByteStream
  readonly #request: HttpRequestHead
  readonly #context: ServeContext
  readonly #origin: HttpOrigin
  readonly #authority: string
  readonly #body: RequestBody
  readonly #answer: Answer
  /** The whole request rode on OPEN. Said once, so that what is sent does not depend on timing. */
  #whole = false
  /** The protocol that the connection is to be switched to; what the opener sends are then its bytes, and no body. */
  #upgrade: string | undefined
  #state: 'new' | 'queued' | 'sent' | 'answering' | 'answered' = 'new'
  #needsFresh = false
  #hooksRan = false
  #onFirst: (() => void) | undefined
  #connection: HttpConnection | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #linger: ReturnType<typeof setTimeout> | undefined
  #suspension: ReturnType<typeof setTimeout> | undefined
  #paused = false
  #over: TunnelError | 'ended' | undefined

  constructor(
    stream: ByteStream,
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
    this.#body = new RequestBody((byteCount) => stream.consumed(byteCount))
    this.#answer = new Answer(stream, {
      accepted: () => context.onAccepted(),
      answered: () => this.#afterEnd(),
    })
    this.served = new Promise((resolve) => {
      stream.handle({
        data: (bytes) => this.#received(bytes),
        aux: (bytes) => stream.consumed(bytes.length),
        ended: () => this.#requestEnded(),
        drained: () => this.#streamDrained(),
        suspended: () => this.#suspended(),
        resumed: () => this.#resumed(),
        closed: (error) => {
          this.#closed(error)
          resolve()
        },
      })
    })
  }

  /** Only a connection that has carried nothing yet will do. */
  get needsFresh(): boolean {
    return this.#needsFresh
  }

  /** Asks for a connection. */
  begin(): void {
    if (this.#over !== undefined) return
    this.#whole = this.#body.ended
    if (!this.#whole) this.#upgrade = upgradeAsked(this.#request)
    if (!this.#whole && this.#upgrade === undefined) {
      // The body is still to come: it may only come once the stream has been accepted.
      this.#answer.accept()
      const isKnown = this.#stream.peer !== undefined
      if (!isKnown && mayBeBodiless(this.#request) && this.#body.byteCount === 0) {
        this.#onFirst = () => {
          this.#whole = this.#body.ended
          this.#queue()
        }
        return
      }
    }
    this.#queue()
  }

  start(connection: HttpConnection): void {
    this.#connection = connection
    const opening = this.#hooksRan ? undefined : this.#context.onOpen()
    this.#hooksRan = true
    const send = () => connection.whenSettled(() => this.#send(connection))
    if (opening === undefined) return send()
    opening.then(send, (error: TunnelError) => {
      this.fail(error)
      this.#free()
    })
  }

  fail(error: TunnelError): void {
    this.#stream.reset(error)
  }

  #queue(): void {
    this.#state = 'queued'
    if (this.#suspension === undefined) this.#origin.add(this)
  }

  #send(connection: HttpConnection): void {
    if (this.#over !== undefined) return this.#free()
    // It has closed meanwhile: nothing has been sent.
    if (!connection.usable) {
      this.#free()
      return this.#queue()
    }
    this.#contained(() => {
      const { headers } = this.#context
      const { method } = this.#request
      const { peer } = this.#stream
      const upgrade = this.#upgrade
      const declared = declaredLength(this.#request.headers)
      const body = this.#whole ? this.#body.whole() : undefined
      const expectsContinue = peer?.expectsContinue === true && !this.#whole
      const head = requestText(this.#request, headers, this.#authority, this.#framing(declared, body), {
        ...{ upgrade, expectsContinue, trailers: peer?.takesTrailers === true },
      })
      this.#state = 'sent'
      const { timeoutMs } = this.#context
      this.#timer = setTimeout(() => {
        // A slow service, or a machine that has gone without a word.
        connection.lease.connection.probe()
        this.fail(headTimeout(this.#authority, timeoutMs))
      }, timeoutMs).unref()
      const expected = { upgrade: upgrade !== undefined, trailers: peer !== undefined }
      if (upgrade !== undefined) {
        connection.send(method, head, 'none', this, expected)
      } else if (body !== undefined) {
        connection.send(method, head, body.length === 0 ? 'none' : body, this, expected)
      } else {
        connection.send(method, head, declared === undefined ? 'chunked' : 'length', this, expected)
        this.#body.attach(connection, declared)
      }
    })
  }

  #framing(declared: number | undefined, body: Buffer | undefined): BodyFraming {
    if (this.#upgrade !== undefined) return 'none'
    return body === undefined ? (declared ?? 'chunked') : framingOfWhole(this.#request, body.length)
  }

  #received(bytes: Uint8Array): void {
    this.#context.carried('in', bytes.length)
    this.#contained(() => this.#body.data(bytes))
    this.#moved()
    this.#begun()
  }

  #requestEnded(): void {
    this.#contained(() => this.#body.end(this.#stream.peer?.requestTrailers))
    this.#moved()
    clearTimeout(this.#linger)
    this.#begun()
  }

  #begun(): void {
    const onFirst = this.#onFirst
    this.#onFirst = undefined
    onFirst?.()
  }

  /** As long as the body moves the response is not late. */
  #moved(): void {
    if (this.#state === 'sent') this.#timer?.refresh()
  }

  drained(): void {
    this.#body.drained()
    this.#moved()
  }

  interim(head: HttpResponseHead): void {
    if (this.#over === undefined) this.#stream.peer?.interim(head)
  }

  head(head: HttpResponseHead): void {
    clearTimeout(this.#timer)
    if (this.#over !== undefined) return
    this.#state = 'answering'
    this.#context.onHead()
    this.#answer.head(head)
    if (this.#upgrade === undefined) return
    const connection = this.#connection
    // What came before the response was meant for the other protocol.
    if (head.status !== 101 || connection === undefined) this.#body.discard()
    else this.#body.attach(connection, undefined)
  }

  trailers(fields: HeaderList): void {
    if (this.#over === undefined) this.#stream.peer?.trailers(fields)
  }

  data(chunk: Buffer): void {
    if (this.#over !== undefined) return
    this.#context.carried('out', chunk.length)
    if (this.#answer.data(chunk)) return
    this.#paused = true
    this.#connection?.pause()
  }

  end(): void {
    this.#state = 'answered'
    if (this.#over === undefined) this.#answer.end()
    // What is left of this piece is parsed first: the service may have sent more than it may.
    queueMicrotask(() => this.#free())
  }

  failed(cause: Error): void {
    const connection = this.#connection
    const unanswered = this.#state === 'sent'
    const idempotent = isIdempotent(this.#request.method)
    const byService = cause instanceof ResponseError
    // A service may close a connection that it has kept just as the next request comes, or what it sent too much
    // of the last response may come as the answer to this one (RFC 9112, section 9.3.1).
    const again = byService && unanswered && connection?.reused === true && idempotent && this.#whole
    clearTimeout(this.#timer)
    if (again && this.#over === undefined) {
      this.#needsFresh = true
      this.#free()
      return this.#queue()
    }
    const unknown = unanswered && !idempotent
    const error = unknown ? outcomeUnknown(this.#authority, cause) : exchangeFailed(cause, this.#authority)
    this.fail(error)
    this.#free()
  }

  /** A response may be complete before its request is; what still comes of that is dropped. */
  #afterEnd(): void {
    this.#body.discard()
    if (this.#body.ended || this.#over !== undefined) return
    this.#linger = setTimeout(() => this.#stream.reset(requestGone()), LINGER_MS).unref()
  }

  #streamDrained(): void {
    if (!this.#paused) return
    this.#paused = false
    if (this.#state === 'answering') this.#connection?.resume()
  }

  /** The client's link is gone. A request that waits leaves its place to others; one that has a channel offers it. */
  #suspended(): void {
    this.#context.suspended()
    if (this.#state === 'queued' && this.#connection === undefined) this.#origin.remove(this)
    this.#suspension = setTimeout(() => {
      if (this.#state === 'answered') return
      this.#connection?.lease.offer(() => this.fail(this.#givenAway()), 'suspended')
    }, AWAY_MS).unref()
  }

  /** Its channel was given to another request; what had been sent may have been carried out. */
  #givenAway(): TunnelError {
    const { machine } = this.#context
    const isSent = this.#state === 'sent' || this.#state === 'answering'
    return isSent && !isIdempotent(this.#request.method) ? placeTaken(machine) : placeNeeded(machine)
  }

  #resumed(): void {
    this.#context.resumed()
    clearTimeout(this.#suspension)
    this.#suspension = undefined
    if (this.#state === 'queued' && this.#connection === undefined) this.#origin.add(this)
    else this.#connection?.lease.keep()
  }

  #closed(error: TunnelError | undefined): void {
    this.#over = error ?? 'ended'
    clearTimeout(this.#timer)
    clearTimeout(this.#linger)
    clearTimeout(this.#suspension)
    this.#onFirst = undefined
    this.#answer.stop()
    this.#body.discard()
    const connection = this.#connection
    if (connection === undefined) return this.#origin.remove(this)
    // One that is still running a hook frees it itself.
    if (this.#state === 'answered' || this.#state === 'queued') return
    connection.close()
    this.#free()
  }

  #free(): void {
    const connection = this.#connection
    if (connection === undefined) return
    this.#connection = undefined
    this.#origin.free(connection)
  }

  /** What cannot be sent ends the stream, and with it the connection. */
  #contained(send: () => void): void {
    try {
      send()
    } catch (error) {
      this.fail(asTunnelError(error, 'proxy'))
      if (this.#state === 'queued') this.#free()
    }
  }
}
