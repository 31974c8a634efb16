import type { IncomingMessage } from 'node:http'
import type { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { type RawData, WebSocket } from 'ws'
import { errorFromWire, isErrorCode, TunnelError } from '../codec/errors.ts'
import { copyFrame } from '../codec/frames.ts'
import { SUBPROTOCOL } from '../codec/hello.ts'
import { notAProxy, redirected, tlsFailure, upgradeLost } from '../link/dial-failure.ts'
import type { CompressionChoice, DialOptions, Transport, TransportReceiver } from '../link/transport.ts'
import { createConnection } from './connect.ts'

/** The connection beneath: several small writes leave it in one system call, and it can end before the peer does. */
interface Connection {
  cork(): void
  uncork(): void
  end(): void
}

/** How many times its own size a received frame may keep in memory. */
const MAX_PINNED = 4
/** A frame of this size, in bytes, is worth a system call of its own. */
const CORKED_BYTES = 16_384

const COMPRESSED = { compress: true }
const PLAIN = { compress: false }
/** A close reason is 123 bytes at most (RFC 6455, section 5.5.1). */
const MAX_REASON_BYTES = 123
/** How long a peer has for its half of the closing handshake before the socket is dropped, in ms. */
const CLOSE_TIMEOUT_MS = 2_000

const RATE_LIMITED_CLOSE = 4429

/** A WebSocket of `ws`, on either side, as a link's transport. */
export class WebSocketTransport implements Transport {
  #receiver: TransportReceiver | undefined
  /** How the connection ended, if that was before there was anybody to tell. */
  #ended: { code: number; reason: string } | undefined
  readonly #webSocket: WebSocket
  readonly #socket: Connection | undefined
  #corked = false
  /** Nothing more is read. */
  #isDeaf = false
  #closeTimer: ReturnType<typeof setTimeout> | undefined
  #closeReason: { code: number; reason: string } | undefined
  readonly #compressFromBytes: number
  readonly #sent = (): void => this.receiver?.drained()
  readonly #uncork = (): void => {
    if (!this.#corked) return
    this.#corked = false
    this.#socket?.uncork()
  }

  /** `socket` is the connection beneath, for corking. */
  constructor(webSocket: WebSocket, socket: Duplex | undefined, compression?: CompressionChoice) {
    this.#webSocket = webSocket
    this.#compressFromBytes = compression?.thresholdBytes ?? Number.POSITIVE_INFINITY
    this.#socket = socket
    webSocket.on('message', (data: RawData, isBinary: boolean) => {
      if (isBinary) this.receiver?.message(own(data as Buffer))
      else this.receiver?.text()
    })
    webSocket.on('error', (error: Error & { code?: string }) => this.#failed(error))
    webSocket.on('close', (code: number, reason: Buffer) => {
      clearTimeout(this.#closeTimer)
      const ended = this.#closeReason ?? { code, reason: reason.toString() }
      if (this.#receiver === undefined) this.#ended = ended
      else this.#receiver.closed(ended.code, ended.reason)
    })
  }

  get receiver(): TransportReceiver | undefined {
    return this.#receiver
  }

  set receiver(receiver: TransportReceiver | undefined) {
    this.#receiver = receiver
    const ended = this.#ended
    if (ended !== undefined) queueMicrotask(() => receiver?.closed(ended.code, ended.reason))
  }

  get bufferedBytes(): number {
    return this.#webSocket.bufferedAmount
  }

  send(frame: Uint8Array, compressible = false): void {
    if (this.#webSocket.readyState !== WebSocket.OPEN) return
    if (frame.length < CORKED_BYTES) this.#cork()
    else if (this.#corked) this.#uncork()
    const compress = compressible && frame.length >= this.#compressFromBytes
    this.#webSocket.send(frame, compress ? COMPRESSED : PLAIN, this.#sent)
  }

  /** Several small frames leave in one system call, at the end of this turn of the event loop. */
  #cork(): void {
    if (this.#corked || this.#socket === undefined) return
    this.#corked = true
    this.#socket.cork()
    setImmediate(this.#uncork)
  }

  close(code: number, reason: string): void {
    const fits = Buffer.from(reason)
      .subarray(0, MAX_REASON_BYTES)
      .toString()
      .replace(/\ufffd$/, '')
    this.#webSocket.close(code, fits)
    // Whoever closes may end its process next.
    this.#uncork()
    this.#terminateSoon()
    if (code === RATE_LIMITED_CLOSE) {
      // To read what a flood has left, only to find the peer's goodbye behind it, would be the work that it is closed for.
      this.#isDeaf = true
      this.#webSocket.pause()
      this.#socket?.end()
    } else {
      // A peer that is held or gone never answers.
      this.#webSocket.resume()
    }
  }

  #terminateSoon(): void {
    this.#closeTimer ??= setTimeout(() => this.#webSocket.terminate(), CLOSE_TIMEOUT_MS)
    this.#closeTimer.unref()
  }

  terminate(): void {
    this.#webSocket.terminate()
  }

  pause(): void {
    this.#webSocket.pause()
  }

  resume(): void {
    if (!this.#isDeaf) this.#webSocket.resume()
  }

  /** `ws` closes with the right code by itself; it is told to the link as what it is. */
  #failed(error: Error & { code?: string }): void {
    if (!error.code?.startsWith('WS_ERR_')) return
    this.#closeReason =
      error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH'
        ? { code: 1009, reason: 'FRAME_TOO_LARGE: a message is over the limit' }
        : { code: 4400, reason: `FRAME_INVALID: ${error.message}` }
    this.#terminateSoon()
  }
}

/** `ws` gives views of what was read at once; a small one that is kept would keep all the rest with it. */
function own(frame: Buffer): Uint8Array {
  return frame.length * MAX_PINNED < frame.buffer.byteLength ? copyFrame(frame) : frame
}

/** A proxy that has taken the connection may be busy with a hundred others, and dialling it again is more work for it. */
const BUSY_FACTOR = 2

/**
 * Dials a WebSocket of the subprotocol tunnel.v1.
 * @throws {TunnelError} what a refused upgrade's problem document says, or CONNECT_REFUSED, DNS_FAILED, TIMEOUT, ABORTED
 */
export function dialWebSocket(url: string, options: DialOptions): Promise<Transport> {
  const { headers, timeoutMs, maxFrameBytes, signal, compression } = options
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted())
    let socket: Duplex | undefined
    let callOff = (): void => {}
    const webSocket = new WebSocket(url, SUBPROTOCOL, {
      ...(headers === undefined ? {} : { headers }),
      maxPayload: maxFrameBytes,
      perMessageDeflate: compression === undefined ? false : { threshold: compression.thresholdBytes },
      createConnection: createConnection(
        url.startsWith('wss:'),
        (cancel) => {
          callOff = cancel
        },
        () => wait(BUSY_FACTOR * timeoutMs),
      ) as unknown as typeof connect,
    })
    const onAbort = (): void => fail(aborted())
    signal?.addEventListener('abort', onAbort, { once: true })
    let timer: NodeJS.Timeout | undefined
    const wait = (ms: number): void => {
      clearTimeout(timer)
      const text = `${new URL(url).host} did not answer within ${ms / 1_000} s`
      timer = setTimeout(() => fail(new TunnelError('TIMEOUT', text, { hop: 'proxy' })), ms)
    }
    wait(timeoutMs)
    const settle = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      webSocket.off('error', onError)
    }
    const fail = (error: TunnelError): void => {
      settle()
      webSocket.on('error', () => {})
      callOff()
      webSocket.terminate()
      reject(error)
    }
    const onError = (error: Error & { code?: string }): void => fail(dialError(error, url))
    webSocket.on('error', onError)
    webSocket.once('upgrade', (response) => {
      socket = response.socket
      // No keystroke may wait for the acknowledgement of the one before it.
      response.socket.setNoDelay(true)
    })
    webSocket.once('unexpected-response', (_request, response) => {
      void refusal(url, response).then(fail)
    })
    webSocket.once('open', () => {
      settle()
      // Before any message can be emitted: nothing is received until the caller has made its link of it.
      resolve(new WebSocketTransport(webSocket, socket, compression))
    })
  })
}

function aborted(): TunnelError {
  return new TunnelError('ABORTED', 'the dial was called off', { hop: 'client' })
}

function dialError(error: Error & { code?: string }, url: string): TunnelError {
  const where = new URL(url).host
  const options = { cause: error, hop: 'proxy' } as const
  if (error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN') {
    return new TunnelError('DNS_FAILED', `the name of ${where} could not be resolved`, options)
  }
  if (error.code === 'ETIMEDOUT') {
    return new TunnelError('TIMEOUT', `${where} did not answer in time`, options)
  }
  if (error.code === 'ECONNREFUSED')
    return new TunnelError('CONNECT_REFUSED', `nothing listens at ${where}`, options)
  if (error.code === 'ECONNRESET' || error.code === 'EPIPE') {
    return new TunnelError('LINK_LOST', `the connection to ${where} was cut before there was a link`, options)
  }
  const tls = tlsFailure(error.code ?? '', error.message)
  if (tls !== undefined) return new TunnelError('CONNECT_REFUSED', `${where}: ${tls}`, options)
  return new TunnelError('CONNECT_REFUSED', `${where} could not be reached (${error.message})`, options)
}

const MAX_REFUSAL_BYTES = 16_384

/** What the proxy answered in place of an upgrade: a problem document (RFC 9457), or a stranger's page. */
async function refusal(url: string, response: IncomingMessage): Promise<TunnelError> {
  const status = response.statusCode ?? 0
  if (status >= 300 && status < 400) {
    response.resume()
    const message = redirected(url, status, response.headers.location)
    return new TunnelError('CONNECT_REFUSED', message, { hop: 'proxy' })
  }
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of response) {
      size += (chunk as Buffer).length
      if (size > MAX_REFUSAL_BYTES) break
      chunks.push(chunk as Buffer)
    }
    const problem = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>
    if (problem.code === 'REQUEST_INVALID')
      return new TunnelError('CONNECT_REFUSED', upgradeLost(url), { hop: 'proxy' })
    if (isErrorCode(problem.code)) {
      return errorFromWire({ hop: 'proxy', ...problem, message: problem.detail ?? problem.title })
    }
  } catch {
    // Not a problem document: told below by its status.
  }
  if (status === 401) return new TunnelError('TOKEN_INVALID', 'the proxy answered 401', { hop: 'proxy' })
  return new TunnelError('CONNECT_REFUSED', notAProxy(url, status), { hop: 'proxy' })
}
