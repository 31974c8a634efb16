import { TunnelError } from '../codec/errors.ts'
import { SUBPROTOCOL } from '../codec/hello.ts'
import {
  CLOSE_TIMEOUT_MS,
  type DialOptions,
  MAX_REASON_BYTES,
  type Transport,
  type TransportReceiver,
} from '../link/transport.ts'

/** How often it is looked whether less is unsent, while anything is, in ms: a browser tells nobody. */
const LOOK_MS = 5
const NORMAL_CLOSE = 1000
/** In place of a code that pages may not close with; the reason begins with the error's own code. */
const ERROR_CLOSE = 4400
const NO_CLOSE = 1006
const TOO_LARGE_CLOSE = 1009

/**
 * A browser's WebSocket as a link's transport. It cannot stop reading: what comes in is bounded by the credit that the
 * streams have given.
 */
export class BrowserTransport implements Transport {
  receiver: TransportReceiver | undefined
  readonly #webSocket: WebSocket
  readonly #maxFrameBytes: number
  #unsentBytes = 0
  #lookTimer: ReturnType<typeof setTimeout> | undefined
  #closeTimer: ReturnType<typeof setTimeout> | undefined
  #isOver = false

  constructor(webSocket: WebSocket, maxFrameBytes: number) {
    this.#webSocket = webSocket
    this.#maxFrameBytes = maxFrameBytes
    webSocket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (data instanceof ArrayBuffer) this.#received(data)
      else this.receiver?.text()
    }
    webSocket.onclose = ({ code, reason }) => this.#ended(code, reason)
  }

  get bufferedBytes(): number {
    return this.#webSocket.bufferedAmount
  }

  send(frame: Uint8Array): void {
    if (this.#webSocket.readyState !== WebSocket.OPEN) return
    this.#webSocket.send(frame as Uint8Array<ArrayBuffer>)
    this.#unsentBytes = this.bufferedBytes
    this.#lookTimer ??= setTimeout(this.#look, LOOK_MS)
  }

  close(code: number, reason: string): void {
    const isAllowed = code === NORMAL_CLOSE || (code >= 3000 && code <= 4999)
    this.#webSocket.close(isAllowed ? code : ERROR_CLOSE, cut(reason))
    this.#closeTimer ??= setTimeout(() => this.terminate(), CLOSE_TIMEOUT_MS)
  }

  /** The browser ends the connection in its own time; nothing more is heard of it. */
  terminate(): void {
    this.#webSocket.close()
    queueMicrotask(() => this.#ended(NO_CLOSE, ''))
  }

  pause(): void {}
  resume(): void {}

  #received(data: ArrayBuffer): void {
    if (this.#isOver) return
    // Before the frame is looked at: a page in the background looks seldom, because its timers are slowed down.
    this.#tellDrained()
    if (data.byteLength <= this.#maxFrameBytes) return this.receiver?.message(new Uint8Array(data))
    this.#webSocket.close(ERROR_CLOSE, 'FRAME_TOO_LARGE: a message is over the limit')
    this.#ended(TOO_LARGE_CLOSE, 'FRAME_TOO_LARGE: a message is over the limit')
  }

  readonly #look = (): void => {
    this.#lookTimer = undefined
    this.#tellDrained()
    if (this.#unsentBytes > 0 && !this.#isOver) this.#lookTimer ??= setTimeout(this.#look, LOOK_MS)
  }

  #tellDrained(): void {
    const before = this.#unsentBytes
    this.#unsentBytes = this.bufferedBytes
    if (this.#unsentBytes < before) this.receiver?.drained()
  }

  #ended(code: number, reason: string): void {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#lookTimer)
    clearTimeout(this.#closeTimer)
    this.#webSocket.onmessage = null
    this.#webSocket.onclose = null
    this.receiver?.closed(code, reason)
  }
}

/** As many whole characters as fit. */
function cut(reason: string): string {
  const bytes = new TextEncoder().encode(reason).subarray(0, MAX_REASON_BYTES)
  return new TextDecoder().decode(bytes).replace(/\ufffd$/, '')
}

/**
 * Opens a browser's WebSocket of the subprotocol tunnel.v1, to an address that holds what lets it in.
 * @throws {TunnelError} CONNECT_REFUSED, TIMEOUT, ABORTED. A browser does not say why one was refused
 */
export function openWebSocket(
  url: string,
  { timeoutMs, maxFrameBytes, signal }: DialOptions,
): Promise<Transport> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted())
    const webSocket = new WebSocket(url, SUBPROTOCOL)
    webSocket.binaryType = 'arraybuffer'
    const { host } = new URL(url)
    const settle = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      webSocket.onopen = webSocket.onclose = null
    }
    const fail = (error: TunnelError): void => {
      settle()
      webSocket.close()
      reject(error)
    }
    const onAbort = (): void => fail(aborted())
    const late = `${host} did not answer within ${timeoutMs / 1_000} s`
    const timer = setTimeout(() => fail(new TunnelError('TIMEOUT', late, { hop: 'proxy' })), timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })
    webSocket.onopen = () => {
      settle()
      resolve(new BrowserTransport(webSocket, maxFrameBytes))
    }
    webSocket.onclose = () => fail(new TunnelError('CONNECT_REFUSED', refused(host), { hop: 'proxy' }))
  })
}

function aborted(): TunnelError {
  return new TunnelError('ABORTED', 'the dial was called off', { hop: 'client' })
}

function refused(host: string): string {
  return `the WebSocket to ${host} was not opened, and a browser does not say why: the proxy has too many connections, or what stands before it does not pass WebSockets on`
}
