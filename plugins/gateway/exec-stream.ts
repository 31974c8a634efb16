import type { ServerResponse } from 'node:http'
import { StringDecoder } from 'node:string_decoder'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { RoutedHead, StreamEvent } from '../../protocol/codec/heads.ts'
import type { StreamState } from '../../protocol/stream/byte-stream.ts'
import type { StreamHandlers } from '../../protocol/stream/event-buffer.ts'
import { callerGone } from './errors.ts'
import type { Visit } from './visits.ts'

export interface ExecCaller {
  response: ServerResponse
  headers: Record<string, string>
  stdin: string
  /** How output is written into JSON. */
  encoding: 'utf8' | 'base64'
  /** The head of the response is about to be written. */
  begins(): void
  over(error: TunnelError | undefined): void
}

type Output = 'stdout' | 'stderr'

/** A command whose output a caller gets as it comes, one line of JSON for each piece. */
export class ExecStream implements Visit {
  readonly head: RoutedHead
  readonly begun: Promise<void>
  readonly isLasting = false
  state: StreamState = 'opening'
  readonly #caller: ExecCaller
  /** A character may come in two pieces. */
  readonly #decoders: Record<Output, StringDecoder>
  #handlers: StreamHandlers = {}
  #settle: { resolve(): void; reject(error: TunnelError): void } = { resolve() {}, reject() {} }

  constructor(head: RoutedHead, caller: ExecCaller) {
    const { response, encoding } = caller
    this.head = head
    this.#caller = caller
    this.#decoders = { stdout: new StringDecoder(encoding), stderr: new StringDecoder(encoding) }
    this.begun = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    // Whoever waits for it has it too; and 'close' follows an error of the response.
    this.begun.catch(() => {})
    response.on('error', () => {})
    response.on('drain', () => this.#handlers.drained?.())
    response.once('finish', () => this.#finish(undefined))
    response.once('close', () => this.#finish(callerGone()))
  }

  get id(): string {
    return this.head.id
  }

  handle(handlers: StreamHandlers): void {
    this.#handlers = handlers
    const { stdin } = this.#caller
    if (stdin !== '') handlers.data?.(Buffer.from(stdin))
    handlers.ended?.()
  }

  accept(): void {
    const { response, headers, begins } = this.#caller
    this.state = 'open'
    begins()
    response.writeHead(200, {
      ...headers,
      'content-type': 'application/x-ndjson',
      'cache-control': 'no-store',
    })
    response.flushHeaders()
    this.#settle.resolve()
  }

  write(bytes: Uint8Array): boolean {
    return this.#say('stdout', this.#decoders.stdout.write(Buffer.from(bytes)))
  }

  writeAux(bytes: Uint8Array): boolean {
    return this.#say('stderr', this.#decoders.stderr.write(Buffer.from(bytes)))
  }

  #say(output: Output, text: string): boolean {
    return text === '' || this.#line({ [output]: text })
  }

  #line(value: object): boolean {
    return this.state === 'closed' || this.#caller.response.write(`${JSON.stringify(value)}\n`)
  }

  whenFramed(callback: () => void): void {
    this.#caller.response.write('', () => callback())
  }

  event(event: StreamEvent): void {
    if (!('exit' in event)) return
    this.#rest()
    this.#line({ exit: event.exit })
  }

  #rest(): void {
    for (const output of ['stdout', 'stderr'] as const) this.#say(output, this.#decoders[output].end())
  }

  end(): void {
    if (this.state !== 'closed') this.#caller.response.end()
  }

  consumed(): void {}

  /** A caller whose answer has begun reads in its last line why there is no exit. */
  reset(error: TunnelError): void {
    if (this.state === 'closed') return
    if (this.state === 'open') {
      this.#rest()
      this.#line({ error: error.toWire() })
      this.#caller.response.end()
    }
    this.#finish(error)
  }

  #finish(error: TunnelError | undefined): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.#settle.reject(error ?? callerGone())
    this.#handlers.closed?.(error)
    this.#caller.over(error)
  }
}
