import type { Duplex } from 'node:stream'
import type { ChannelLease } from '../../pool/index.ts'
import { type Expected, ResponseError } from './response-head.ts'
import { type ResponseHandler, ResponseParser } from './response-parser.ts'

/** The request that has the connection. */
export interface ConnectionUser extends ResponseHandler {
  /** The service takes more of the body. */
  drained(): void
  /** Instead of `end`, once: the connection has closed. */
  failed(error: Error): void
}

/** A server that says nothing keeps idle connections for 5 s and more (Node's default); this stays below. */
const KEEP_ALIVE_MS = 4_000
const MAX_KEEP_ALIVE_MS = 60_000
/** What the way to a server may take: a connection that it is about to close is not used again. */
const KEEP_ALIVE_MARGIN_MS = 2_000
/** A body up to this leaves in one piece with its head, in bytes. */
const MAX_JOINED_BYTES = 32_768

/** One keep-alive HTTP connection over one SSH channel. One request at a time. */
export class HttpConnection {
  readonly lease: ChannelLease
  /** Of those that its service's name stood for, where that is a name. */
  readonly address: string | undefined
  readonly openedAtMs = performance.now()
  readonly #channel: Duplex
  readonly #parser = new ResponseParser()
  readonly #onClosed: () => void
  #user: ConnectionUser | undefined
  /** One for all requests: after its end, or the connection's, none of them is told anything. */
  readonly #handler: ResponseHandler = {
    interim: (response) => this.#user?.interim?.(response),
    head: (response) => {
      if (response.status === 101) this.#writing = 'switched'
      this.#user?.head(response)
    },
    data: (bytes) => this.#user?.data(bytes),
    trailers: (fields) => this.#user?.trailers?.(fields),
    end: () => this.#answered(),
  }
  readonly #settled = (): void => {
    this.#justEnded = false
  }
  #requests = 0
  /** A response has ended in this turn of the event loop. */
  #justEnded = false
  /** A request's body is not complete. */
  #writing: 'chunked' | 'length' | 'switched' | undefined
  #idleTimer: ReturnType<typeof setTimeout> | undefined
  #closed = false

  /** `onClosed` is called once, when no further request can be sent. */
  constructor(lease: ChannelLease, channel: Duplex, address: string | undefined, onClosed: () => void) {
    this.lease = lease
    this.address = address
    this.#channel = channel
    this.#onClosed = onClosed
    channel.on('data', (bytes: Buffer) => this.#contained(() => this.#parser.push(bytes)))
    channel.on('drain', () => this.#user?.drained())
    channel.on('error', (error: Error) => this.close(error))
    channel.on('end', () => {
      this.#contained(() => this.#parser.finish())
      this.close()
    })
    channel.on('close', () => this.close(new ResponseError('closed the connection')))
  }

  /** Whether a request can be sent. */
  get usable(): boolean {
    return !this.#closed && this.#parser.idle && this.#parser.persistent && this.#writing === undefined
  }

  /** It has carried a request before the present one: its service may have closed it as that one was sent. */
  get reused(): boolean {
    return this.#requests > 1
  }

  /**
   * Calls back when it has shown whether it can be used: a turn after its last response. By then its service may have
   * closed it, or sent more than it may.
   */
  whenSettled(callback: () => void): void {
    if (this.#justEnded) setImmediate(callback)
    else callback()
  }

  /** `body` is all of it, or how the rest that follows by `write` is delimited. */
  send(
    method: string,
    head: string,
    body: Buffer | 'none' | 'chunked' | 'length',
    user: ConnectionUser,
    expected?: Expected,
  ): void {
    clearTimeout(this.#idleTimer)
    this.#user = user
    this.#requests++
    this.#parser.expect(method, this.#handler, expected)
    if (typeof body === 'string') {
      if (body !== 'none') this.#writing = body
      this.#channel.write(head, 'latin1')
    } else if (body.length <= MAX_JOINED_BYTES) {
      this.#channel.write(Buffer.concat([Buffer.from(head, 'latin1'), body]))
    } else {
      this.#channel.write(head, 'latin1')
      this.#channel.write(body)
    }
  }

  #answered(): void {
    const user = this.#user
    this.#user = undefined
    this.resume()
    this.#justEnded = true
    setImmediate(this.#settled)
    user?.end()
  }

  /** Of the body. False: wait for `drained`. */
  write(bytes: Buffer): boolean {
    if (this.#closed || bytes.length === 0) return true
    if (this.#writing !== 'chunked') return this.#channel.write(bytes)
    const size = Buffer.from(`${bytes.length.toString(16)}\r\n`, 'latin1')
    return this.#channel.write(Buffer.concat([size, bytes, CRLF]))
  }

  /** The body is complete; `trailers` as they go behind its last chunk. */
  endBody(trailers = ''): void {
    if (!this.#closed && this.#writing === 'chunked') this.#channel.write(`0\r\n${trailers}\r\n`, 'latin1')
    if (!this.#closed && this.#writing === 'switched') this.#channel.end()
    this.#writing = undefined
  }

  /** Takes no more of the response until `resume`, its end included. */
  pause(): void {
    this.#channel.pause()
  }

  resume(): void {
    this.#channel.resume()
  }

  /** Nobody uses it: it closes when that has lasted. */
  idle(): void {
    const { keepAliveMs = KEEP_ALIVE_MS + KEEP_ALIVE_MARGIN_MS } = this.#parser
    const idleMs = Math.min(keepAliveMs - KEEP_ALIVE_MARGIN_MS, MAX_KEEP_ALIVE_MS)
    if (idleMs <= 0) return this.close()
    this.#idleTimer = setTimeout(() => this.close(), idleMs).unref()
  }

  /** Safe to call twice. The lease is given back at once; a request under way is told only of an `error`. */
  close(error?: Error): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#idleTimer)
    const user = this.#user
    this.#user = undefined
    this.lease.release()
    this.#channel.destroy()
    // What still comes is read and dropped, so that the channel gets to its end.
    this.#channel.resume()
    this.#onClosed()
    if (error !== undefined) user?.failed(error)
  }

  /** Whatever goes wrong costs this connection and its request alone. */
  #contained(read: () => void): void {
    if (this.#closed) return
    try {
      read()
    } catch (error) {
      this.close(error instanceof Error ? error : new Error(String(error)))
    }
  }
}

const CRLF = Buffer.from('\r\n', 'latin1')
