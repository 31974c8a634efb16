import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Client, type Dispatcher } from 'undici'
import type { ChannelLease } from '../../pool/index.ts'
import { ChannelSocket } from './channel-socket.ts'

/** A server that says nothing keeps idle connections for 5 s and more (Node's default); this stays below. */
const KEEP_ALIVE_MS = 4_000
const MAX_HEADER_BYTES = 65_536

/** One keep-alive HTTP connection over one SSH channel. One request at a time. */
export class HttpConnection {
  readonly lease: ChannelLease
  readonly openedAtMs = performance.now()
  readonly #client: Client
  readonly #socket: ChannelSocket
  #closed = false
  /** The request under way. */
  #handler: Dispatcher.DispatchHandler | undefined

  /** `onClosed` is called once, when no further request can be sent. */
  constructor(origin: string, lease: ChannelLease, channel: Duplex, onClosed: () => void) {
    this.lease = lease
    const socket = new ChannelSocket(channel)
    this.#socket = socket
    let used = false
    this.#client = new Client(origin, {
      pipelining: 1,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      // An exchange has its own clock for the head, and a body may take for ever.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: (_options, callback) => {
        if (used) return callback(new Error('an SSH channel connects once'), null)
        used = true
        // undici asks for a net.Socket and uses what every duplex has. It is deaf to an answer within the call.
        queueMicrotask(() => callback(null, socket as unknown as Socket))
      },
    })
    let broken: Error | undefined
    socket.on('error', (error) => {
      broken ??= error
    })
    socket.once('close', () => {
      if (this.#closed) return
      this.#closed = true
      lease.release()
      this.#client.destroy().catch(() => {})
      onClosed()
    })
    // By then undici has told the request, unless it failed in that.
    socket.once('close', () => {
      setImmediate(() => {
        const handler = this.#handler
        this.#handler = undefined
        handler?.onResponseError?.(undefined as never, broken ?? new Error('the connection closed'))
      })
    })
  }

  /** Whether another request can be sent. To be asked after the microtask in which a response ended. */
  get usable(): boolean {
    return !this.#closed && !this.#socket.destroyed
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#handler = handler
    this.#client.dispatch(options, handler)
  }

  /** The request under way is over. */
  done(): void {
    this.#handler = undefined
    this.#socket.release()
  }

  /** Takes no more of the response until `resume`. */
  pause(): void {
    this.#socket.hold()
  }

  resume(): void {
    this.#socket.release()
  }

  /** Safe to call twice. The lease is given back at once. */
  close(): void {
    this.lease.release()
    this.#socket.destroy()
  }
}
