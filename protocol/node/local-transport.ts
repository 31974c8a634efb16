import type { Socket } from 'node:net'
import type { Transport, TransportReceiver } from '../link/transport.ts'

/** Before each frame stands its length; with this bit it is a goodbye: the close code (u16) and a reason. */
const GOODBYE = 0x8000_0000
const LENGTH_BYTES = 4
/** The close code of a connection that ended without a goodbye (RFC 6455, section 7.1.5). */
const NO_GOODBYE = 1006
const TOO_BIG = 1009
const MAX_GOODBYE_BYTES = 1_024
/** How long a peer has to take notice of a goodbye before the socket is dropped, in ms. */
const CLOSE_TIMEOUT_MS = 2_000

/** A Unix socket as a link's transport, between two programs of one user: frames with their lengths, and nothing to negotiate. */
export class LocalTransport implements Transport {
  receiver: TransportReceiver | undefined
  readonly #socket: Socket
  readonly #maxFrameBytes: number
  readonly #prefix = Buffer.alloc(LENGTH_BYTES)
  #prefixFilled = 0
  #frame: Buffer | undefined
  #frameFilled = 0
  #isGoodbye = false
  #ended = { code: NO_GOODBYE, reason: '' }
  #isClosing = false
  #isCorked = false
  #closeTimer: NodeJS.Timeout | undefined
  readonly #sent = (): void => this.receiver?.drained()
  readonly #uncork = (): void => {
    this.#isCorked = false
    this.#socket.uncork()
  }

  constructor(socket: Socket, maxFrameBytes: number) {
    this.#socket = socket
    this.#maxFrameBytes = maxFrameBytes
    socket.on('data', (chunk) => this.#read(chunk))
    // 'close' follows and says the same to the link.
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(this.#closeTimer)
      this.receiver?.closed(this.#ended.code, this.#ended.reason)
    })
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength
  }

  send(frame: Uint8Array): void {
    if (this.#isClosing || this.#socket.destroyed) return
    this.#write(frame.length, frame, this.#sent)
  }

  /** The length and what follows it leave in one system call, with whatever else this turn of the event loop sends. */
  #write(length: number, body: Uint8Array, sent: () => void): void {
    if (!this.#isCorked) {
      this.#isCorked = true
      this.#socket.cork()
      setImmediate(this.#uncork)
    }
    const prefix = Buffer.allocUnsafe(LENGTH_BYTES)
    prefix.writeUInt32BE(length)
    this.#socket.write(prefix)
    this.#socket.write(body, sent)
  }

  close(code: number, reason: string): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#ended = { code, reason }
    const body = Buffer.alloc(2 + Math.min(Buffer.byteLength(reason), MAX_GOODBYE_BYTES - 2))
    body.writeUInt16BE(code)
    body.write(reason, 2)
    this.#write((GOODBYE | body.length) >>> 0, body, () => {})
    this.#socket.end()
    this.#socket.resume()
    this.#closeTimer = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT_MS).unref()
  }

  terminate(): void {
    this.#socket.destroy()
  }
  pause(): void {
    this.#socket.pause()
  }
  resume(): void {
    this.#socket.resume()
  }

  #read(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length && !this.#socket.destroyed) {
      if (this.#frame === undefined) {
        const copied = chunk.copy(this.#prefix, this.#prefixFilled, at)
        at += copied
        this.#prefixFilled += copied
        if (this.#prefixFilled === LENGTH_BYTES) this.#begin(this.#prefix.readUInt32BE())
      } else {
        const copied = chunk.copy(this.#frame, this.#frameFilled, at)
        at += copied
        this.#frameFilled += copied
      }
      if (this.#frame !== undefined && this.#frameFilled === this.#frame.length) this.#finish(this.#frame)
    }
  }

  #begin(word: number): void {
    this.#prefixFilled = 0
    this.#isGoodbye = word >= GOODBYE
    const length = this.#isGoodbye ? word - GOODBYE : word
    if (length > (this.#isGoodbye ? MAX_GOODBYE_BYTES : this.#maxFrameBytes)) {
      this.#ended = { code: TOO_BIG, reason: 'FRAME_TOO_LARGE: a message is over the limit' }
      this.#socket.destroy()
      return
    }
    this.#frame = Buffer.allocUnsafeSlow(length)
    this.#frameFilled = 0
  }

  #finish(frame: Buffer): void {
    this.#frame = undefined
    if (!this.#isGoodbye) return this.receiver?.message(frame)
    if (!this.#isClosing && frame.length >= 2) {
      this.#ended = { code: frame.readUInt16BE(), reason: frame.toString('utf8', 2) }
    }
    this.#isClosing = true
    this.#socket.end()
  }
}
