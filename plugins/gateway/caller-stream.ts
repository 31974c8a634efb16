import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import { valuesOf } from '../../protocol/codec/headers.ts'
import type {
  AcceptHead,
  HeaderList,
  HttpResponseHead,
  RoutedHead,
  StreamEvent,
} from '../../protocol/codec/heads.ts'
import { hasBody } from '../../protocol/node/http-body.ts'
import type { HttpPeer, StreamState } from '../../protocol/stream/byte-stream.ts'
import type { StreamHandlers } from '../../protocol/stream/event-buffer.ts'
import type { Asked } from './asked.ts'
import { CallerBody } from './caller-body.ts'
import { callerGone } from './errors.ts'
import { headText, trailersOf, writeHead } from './message.ts'
import { pairs } from './request-headers.ts'
import type { Visit } from './visits.ts'

/** A request that has been read up to its body. */
export interface Received {
  request: IncomingMessage
  response: ServerResponse
  asked: Asked
  /** Where the request asks for another protocol: its connection, and what has come behind the request. */
  upgrade?: { socket: Socket; head: Buffer; take(): void }
  /** The head of the response is about to be written. */
  begins(): void
  /** Ends a socket that has switched to another protocol. */
  endSocket(socket: Socket): void
  /** Once: the stream is over. */
  over(error: TunnelError | undefined): void
}

/** A request that came by plain HTTP, as the opener of a stream. */
export class CallerStream implements Visit, HttpPeer {
  readonly head: RoutedHead
  readonly peer: HttpPeer = this
  readonly expectsContinue: boolean
  readonly takesTrailers: boolean
  state: StreamState = 'opening'
  /** Resolves when the caller gets the head of a response; rejects with what came in its place. */
  readonly begun: Promise<void>
  readonly #received: Received
  readonly #body: CallerBody
  #sink: Writable
  #handlers: StreamHandlers = {}
  #isBegun = false
  #isSwitched = false
  /** The end of the body shows in the body itself. */
  #isFramed = false
  /** Nothing more is asked, and nothing more is answered. */
  #isAsked: boolean
  #isAnswered = false
  #trailers: HeaderList = []
  #settle: { resolve(): void; reject(error: TunnelError): void } = { resolve() {}, reject() {} }

  constructor(head: RoutedHead, received: Received) {
    const { request, response, upgrade } = received
    const { headers, httpVersion } = request
    this.head = head
    this.#received = received
    this.expectsContinue = hasBody(request) && httpVersion === '1.1' && headers.expect !== undefined
    this.takesTrailers = valuesOf(pairs(request.rawHeaders), 'te').includes('trailers')
    this.#isAsked = !hasBody(request) && upgrade === undefined
    this.#body = new CallerBody(upgrade?.socket ?? request, {
      data: (bytes) => this.#handlers.data?.(bytes),
      ended: () => this.#asked(),
    })
    this.#sink = response
    this.begun = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    // Whoever waits for it has it too.
    this.begun.catch(() => {})
    // Of one that waits behind another on its connection the response is told nothing.
    request.on('error', () => this.reset(callerGone()))
    response.on('error', () => {})
    response.on('drain', () => this.#handlers.drained?.())
    response.once('finish', () => this.#answered())
    response.once('close', () => {
      if (!this.#isSwitched && !response.writableFinished) this.reset(callerGone())
    })
  }

  get id(): string {
    return this.head.id
  }
  get isLasting(): boolean {
    return this.#isSwitched
  }

  handle(handlers: StreamHandlers): void {
    this.#handlers = handlers
    if (this.#isAsked) return handlers.ended?.()
    this.#body.read(this.#received.upgrade?.head)
  }

  #asked(): void {
    this.#isAsked = true
    if (this.state !== 'closed') this.#handlers.ended?.()
    this.#checkOver()
  }

  consumed(byteCount: number): void {
    this.#body.consumed(byteCount)
  }

  get requestTrailers(): HeaderList {
    return trailersOf(this.#received.request)
  }

  interim(head: HttpResponseHead): void {
    const { request, response } = this.#received
    if (this.#isBegun || request.httpVersion !== '1.1') return
    if (head.status === 100 && this.expectsContinue) return response.writeContinue()
    // Behind the response to another request on this connection it is not its turn, and may be left out.
    if (response.socket?.writable) response.socket.write(headText(head, this.#received.asked), 'latin1')
  }

  accept({ http }: Partial<AcceptHead> = {}, first?: Uint8Array, end = false): void {
    this.state = 'open'
    if (http !== undefined) this.#begin(http)
    if (first !== undefined) this.write(first)
    if (end) this.end()
  }

  event(event: StreamEvent): void {
    if ('http' in event) this.#begin(event.http)
  }

  #begin(head: HttpResponseHead): void {
    this.#isBegun = true
    this.#received.begins()
    this.#settle.resolve()
    try {
      if (head.status === 101) this.#switch(head)
      else this.#isFramed = writeHead(this.#received, head)
    } catch (error) {
      this.reset(asTunnelError(error, 'proxy'))
    }
  }

  /** From here on the connection speaks another protocol. */
  #switch(head: HttpResponseHead): void {
    const { response, upgrade, asked } = this.#received
    if (upgrade === undefined) return
    const { socket } = upgrade
    upgrade.take()
    response.detachSocket(socket)
    this.#isSwitched = true
    this.#sink = socket
    socket.setNoDelay(true)
    socket.on('drain', () => this.#handlers.drained?.())
    socket.once('finish', () => this.#answered())
    socket.once('close', () => {
      if (!this.#isAnswered) this.reset(callerGone())
    })
    socket.write(headText(head, asked), 'latin1')
  }

  write(bytes: Uint8Array): boolean {
    return this.state === 'closed' || this.#sink.write(bytes)
  }

  writeAux(): boolean {
    return true
  }

  whenFramed(callback: () => void): void {
    this.#sink.write('', () => callback())
  }

  trailers(fields: HeaderList): void {
    this.#trailers = fields
  }

  end(bytes?: Uint8Array): void {
    if (this.state === 'closed') return
    if (bytes !== undefined) this.write(bytes)
    const { response, endSocket, upgrade } = this.#received
    if (this.#isSwitched && upgrade !== undefined) return endSocket(upgrade.socket)
    if (this.#trailers.length > 0 && response.chunkedEncoding)
      response.addTrailers(this.#trailers.map(([name, value]): [string, string] => [name, value.trim()]))
    response.end()
  }

  #answered(): void {
    this.#isAnswered = true
    // What a peer still says in a protocol that its service has left is for nobody.
    if (this.#isSwitched) this.#isAsked = true
    // The rest of a body that has its answer is dropped, for as long as there is anybody who sends it.
    if (!this.#isAsked)
      this.#received.request.socket.once('close', () => {
        this.#isAsked = true
        this.#checkOver()
      })
    this.#checkOver()
  }

  #checkOver(): void {
    if (this.#isAsked && this.#isAnswered) this.#finish(undefined)
  }

  /** Before there is a head the caller is told; then the connection is cut, so that nobody takes this for the end. */
  reset(error: TunnelError): void {
    if (this.state === 'closed') return
    if (this.#isBegun) this.#cut()
    this.#finish(error)
  }

  #cut(): void {
    const { socket } = this.#received.request
    // Where the end of the connection would be the end of the body.
    if (!this.#isFramed && !(socket instanceof TLSSocket) && !socket.destroyed) socket.resetAndDestroy()
    else socket.destroy()
  }

  #finish(error: TunnelError | undefined): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    if (!this.#isBegun) this.#settle.reject(error ?? callerGone())
    this.#body.drop()
    this.#handlers.closed?.(error)
    this.#received.over(error)
  }
}
