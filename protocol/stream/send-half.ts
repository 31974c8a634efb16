import { TunnelError } from '../codec/errors.ts'
import {
  BLOCKED_FLAG,
  END_FLAG,
  encodeFrame,
  FrameType,
  HEADER_BYTES,
  MAX_OFFSET,
  setStreamNumber,
} from '../codec/frames.ts'
import { Fifo } from '../fifo.ts'
import { Allowance, type SendLimits } from './allowance.ts'
import { SentFrames } from './sent-frames.ts'

/** What is written and has not left: payload, of which several writes may leave in one frame, or a frame as it leaves. */
interface Pending {
  type: typeof FrameType.DATA | typeof FrameType.AUX | 'whole'
  bytes: Uint8Array
}

/** Bytes written and not yet framed above which a writer is asked to wait. */
const HIGH_WATER_BYTES = 131_072
const LOW_WATER_BYTES = 32_768

/**
 * One direction of a stream, at its sender: what is written, what was sent and is kept until the peer has it, and how
 * far the peer lets it go. Knows no link: frames are kept whole and replayed under whatever number the next link gives.
 */
export class SendHalf {
  readonly #pending = new Fifo<Pending>()
  #pendingBytes = 0
  #endWritten = false
  #endSent = false

  readonly #sent = new SentFrames()
  #limit = 0
  readonly #allowance: Allowance

  constructor(limits: SendLimits) {
    this.#allowance = new Allowance(limits)
  }

  get sentOffset(): number {
    return this.#sent.sentOffset
  }
  get acknowledgedOffset(): number {
    return this.#sent.acknowledgedOffset
  }
  get limit(): number {
    return this.#limit
  }
  get pendingBytes(): number {
    return this.#pendingBytes
  }
  get endWritten(): boolean {
    return this.#endWritten
  }
  /** The final offset of this direction, once its END has been sent. */
  get endOffset(): number | undefined {
    return this.#endSent ? this.#sent.sentOffset : undefined
  }
  /** Everything, END included, is safe at the peer. */
  get done(): boolean {
    return this.#endSent && this.unacknowledgedBytes === 0
  }
  get aboveHighWater(): boolean {
    return this.#pendingBytes > HIGH_WATER_BYTES
  }
  get belowLowWater(): boolean {
    return this.#pendingBytes <= LOW_WATER_BYTES
  }

  write(type: typeof FrameType.DATA | typeof FrameType.AUX, bytes: Uint8Array): void {
    if (bytes.length > 0) this.#add({ type, bytes })
  }

  /** A head or an event, under any number: its own is set when it leaves. */
  writeFrame(frame: Uint8Array): void {
    this.#add({ type: 'whole', bytes: frame })
  }

  #add(pending: Pending): void {
    this.#pending.push(pending)
    this.#pendingBytes += pending.bytes.length
  }

  end(): void {
    this.#endWritten = true
  }

  /** END rides on OPEN, which is not counted. */
  endOnOpen(): void {
    this.#endWritten = true
    this.#endSent = true
  }

  /**
   * On a new link: the peer has all up to `received`, and the rest goes again.
   * @throws {TunnelError} FRAME_INVALID as `acknowledge`; a limit that was higher before holds
   */
  resume(received: number, limit: number): void {
    this.#sent.leaveLink()
    this.acknowledge(received, Math.max(limit, this.#limit))
    this.#sent.rewind()
  }

  /**
   * The peer has all up to `received` and lets us go to `limit`.
   * @throws {TunnelError} FRAME_INVALID when either runs backwards or beyond what can be.
   */
  acknowledge(received: number, limit: number): void {
    if (limit < this.#limit) {
      throw new TunnelError('FRAME_INVALID', `limit shrinks from ${this.#limit} to ${limit}`, { hop: 'link' })
    }
    if (limit > MAX_OFFSET) throw new TunnelError('FRAME_INVALID', 'limit is past 2^48', { hop: 'link' })
    this.#sent.acknowledge(received, this.#allowance.bytes)
    this.#limit = limit
    // Nothing is kept and nothing waits.
    if (this.unacknowledgedBytes === 0 && this.#pendingBytes === 0 && this.#allowance.shrink())
      this.#sent.shrink()
  }

  /** What has been sent and may not have arrived; on a new link it goes again. */
  get unacknowledgedBytes(): number {
    return this.#sent.unacknowledgedBytes
  }

  /** The next frame for a link, under `stream` as its number there, or undefined when nothing can go now. */
  next(stream: number, maxDataBytes: number): Uint8Array | undefined {
    const again = this.#sent.again(stream)
    if (again !== undefined) return again
    if (this.#endSent) return undefined
    const room = this.#room()
    const first = this.#pending.at(0)
    if (first === undefined) {
      if (!this.#endWritten || room < HEADER_BYTES) return undefined
      this.#endSent = true
      return this.#keep(encodeFrame(FrameType.END, stream))
    }
    if (first.type === 'whole') {
      return room < first.bytes.length ? undefined : this.#keep(this.#wholeFrame(first.bytes, stream))
    }
    if (room <= HEADER_BYTES) return undefined
    const maxBytes = Math.min(maxDataBytes, room - HEADER_BYTES)
    return this.#keep(this.#mergedFrame(first.type, stream, maxBytes, room))
  }

  #room(): number {
    const granted = this.#limit - this.sentOffset
    const own = this.#allowance.bytes - this.unacknowledgedBytes
    if (granted > own && own < this.#allowance.bytes / 4) this.#allowance.grow()
    return Math.min(granted, this.#allowance.bytes - this.unacknowledgedBytes)
  }

  #wholeFrame(frame: Uint8Array, stream: number): Uint8Array {
    this.#pending.shift()
    this.#pendingBytes -= frame.length
    setStreamNumber(frame, stream)
    if (frame[0] === FrameType.ACCEPT && this.#isLast()) {
      this.#endSent = true
      frame[0] |= END_FLAG
    }
    return frame
  }

  #mergedFrame(type: number, stream: number, maxBytes: number, room: number): Uint8Array {
    let size = 0
    for (let index = 0; index < this.#pending.length && size < maxBytes; index++) {
      const item = this.#pending.at(index)!
      if (item.type !== type) break
      size += item.bytes.length
    }
    size = Math.min(size, maxBytes)
    const frame = this.#sent.take(HEADER_BYTES + size)
    frame[0] = type
    setStreamNumber(frame, stream)
    for (let filled = 0; filled < size; ) {
      const item = this.#pending.at(0)!
      const part = item.bytes.length <= size - filled ? item.bytes : item.bytes.subarray(0, size - filled)
      frame.set(part, HEADER_BYTES + filled)
      filled += part.length
      if (part.length === item.bytes.length) this.#pending.shift()
      else item.bytes = item.bytes.subarray(part.length)
    }
    this.#pendingBytes -= size
    if (this.#isLast()) {
      if (type === FrameType.DATA) {
        this.#endSent = true
        frame[0] = type | END_FLAG
      }
    } else if (room - frame.length < HEADER_BYTES + 1) {
      frame[0] = type | BLOCKED_FLAG
    }
    return frame
  }

  #isLast(): boolean {
    return this.#endWritten && this.#pending.length === 0
  }

  #keep(frame: Uint8Array): Uint8Array {
    this.#sent.add(frame)
    return frame
  }

  /** Lets go of everything. */
  release(): void {
    this.#pending.clear()
    this.#pendingBytes = 0
    this.#sent.clear()
    this.#allowance.shrink()
  }
}
