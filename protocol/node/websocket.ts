import type { Duplex } from 'node:stream'
import { type RawData, WebSocket } from 'ws'
import { copyFrame } from '../codec/frames.ts'
import {
  CLOSE_TIMEOUT_MS,
  type CompressionChoice,
  MAX_REASON_BYTES,
  type Transport,
  type TransportReceiver,
} from '../link/transport.ts'
import { sliceReads } from './sliced-reads.ts'

/** The connection beneath: several small writes leave it in one system call, and it can end before the peer does. */
interface Connection {
  cork(): void
  uncork(): void
  end(): void
}

/** Of one message that a proxy takes. Ours have one; each may keep a whole read of the socket in memory. */
export const MAX_FRAGMENTS = 64
/** How many times its own size a received frame may keep in memory. */
const MAX_PINNED = 4
/** A frame of this size, in bytes, is worth a system call of its own. */
const CORKED_BYTES = 16_384

const COMPRESSED = { compress: true }
const PLAIN = { compress: false }

/** RATE_LIMITED and FRAME_INVALID: what such a peer still sends is not worth its reading. */
const DEAF_CLOSES: ReadonlySet<number> = new Set([4429, 4400])

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
  #unsentFrames = 0
  #receivedFrames = 0
  readonly #sent = (): void => {
    this.#unsentFrames--
    this.receiver?.drained()
  }
  readonly #uncork = (): void => {
    if (!this.#corked) return
    this.#corked = false
    this.#socket?.uncork()
  }

  /**
   * `socket` is the connection beneath, for corking and for slices. `whenTime` calls back when there is time to tell the
   * receiver that the connection has ended: thousands may end in one turn of the event loop.
   * @default for `whenTime`: at once
   */
  constructor(
    webSocket: WebSocket,
    socket: Duplex | undefined,
    compression?: CompressionChoice,
    whenTime: (go: () => void) => void = (go) => go(),
  ) {
    this.#webSocket = webSocket
    this.#compressFromBytes = compression?.thresholdBytes ?? Number.POSITIVE_INFINITY
    this.#socket = socket
    if (socket !== undefined) sliceReads(socket, () => this.#receivedFrames)
    webSocket.on('message', (data: RawData, isBinary: boolean) => {
      this.#receivedFrames++
      if (isBinary) this.receiver?.message(own(data as Buffer))
      else this.receiver?.text()
    })
    webSocket.on('error', (error: Error & { code?: string }) => this.#failed(error))
    webSocket.on('close', (code: number, reason: Buffer) => {
      clearTimeout(this.#closeTimer)
      const ended = this.#closeReason ?? { code, reason: reason.toString() }
      whenTime(() => {
        if (this.#receiver === undefined) this.#ended = ended
        else this.#receiver.closed(ended.code, ended.reason)
      })
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

  get unsentFrames(): number {
    return this.#unsentFrames
  }

  send(frame: Uint8Array, compressible = false): void {
    if (this.#webSocket.readyState !== WebSocket.OPEN) return
    if (frame.length < CORKED_BYTES) this.#cork()
    else if (this.#corked) this.#uncork()
    const compress = compressible && frame.length >= this.#compressFromBytes
    this.#unsentFrames++
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
    if (DEAF_CLOSES.has(code)) {
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
