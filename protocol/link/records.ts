import { allocate } from '../codec/frames.ts'

// Frames on a byte stream: before each record stands its length (u32, big endian), whose two highest bits say what it is.

const KIND = { frame: 0, padding: 0x4000_0000, goodbye: 0x8000_0000 } as const
const LENGTH_MASK = 0x3fff_ffff
const PREFIX_BYTES = 4
/** Of a goodbye: the close code (u16) and a reason. */
const MAX_GOODBYE_BYTES = 1_024
const TOO_BIG = { code: 1009, reason: 'FRAME_TOO_LARGE: a message is over the limit' } as const

export interface Ended {
  /** WebSocket close code (RFC 6455, section 7.4). */
  code: number
  reason: string
}

/** Of a connection that ended without a goodbye (RFC 6455, section 7.1.5). */
export const NO_GOODBYE: Ended = { code: 1006, reason: '' }

/** What stands before a frame. */
export function framePrefix(length: number): Uint8Array {
  return prefix(KIND.frame, length)
}

function prefix(kind: number, length: number): Uint8Array {
  const bytes = new Uint8Array(PREFIX_BYTES)
  new DataView(bytes.buffer).setUint32(0, (kind | length) >>> 0)
  return bytes
}

function record(kind: number, body: Uint8Array): Uint8Array {
  const bytes = allocate(PREFIX_BYTES + body.length)
  bytes.set(prefix(kind, body.length))
  bytes.set(body, PREFIX_BYTES)
  return bytes
}

/** What its reader drops: intermediaries pass on what fills their buffers. */
export function padding(length: number): Uint8Array {
  return record(KIND.padding, new Uint8Array(length))
}

/** The last record: why the link ends. */
export function goodbye({ code, reason }: Ended): Uint8Array {
  const text = new TextEncoder().encode(reason).subarray(0, MAX_GOODBYE_BYTES - 2)
  const body = new Uint8Array(2 + text.length)
  new DataView(body.buffer).setUint16(0, code)
  body.set(text, 2)
  return record(KIND.goodbye, body)
}

export interface RecordHandlers {
  /** The handler owns its memory. */
  frame(frame: Uint8Array): void
  /** Nothing that comes after it is read: the peer has said why it goes, or has sent more than it may. */
  ended(ended: Ended, isTooBig: boolean): void
}

/** Takes records out of a byte stream, however it is cut. */
export class RecordReader {
  readonly #maxFrameBytes: number
  readonly #handlers: RecordHandlers
  readonly #prefix = new Uint8Array(PREFIX_BYTES)
  #prefixFilled = 0
  #body: Uint8Array | undefined
  #filled = 0
  #isGoodbye = false
  /** Of padding. */
  #skip = 0
  #stopped = false

  constructor(maxFrameBytes: number, handlers: RecordHandlers) {
    this.#maxFrameBytes = maxFrameBytes
    this.#handlers = handlers
  }

  /** Nothing more is read, of what was given to `read` either. */
  stop(): void {
    this.#stopped = true
    this.#body = undefined
  }

  read(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length && !this.#stopped) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - at)
        this.#skip -= skipped
        at += skipped
      } else if (this.#body === undefined) {
        this.#prefix[this.#prefixFilled++] = chunk[at++] as number
        if (this.#prefixFilled === PREFIX_BYTES) this.#begin()
      } else {
        const part = chunk.subarray(at, at + this.#body.length - this.#filled)
        this.#body.set(part, this.#filled)
        this.#filled += part.length
        at += part.length
      }
      if (this.#body !== undefined && this.#filled === this.#body.length) this.#finish(this.#body)
    }
  }

  #begin(): void {
    this.#prefixFilled = 0
    const word = new DataView(this.#prefix.buffer).getUint32(0)
    const kind = (word & ~LENGTH_MASK) >>> 0
    const length = word & LENGTH_MASK
    this.#isGoodbye = kind === KIND.goodbye
    if (kind === KIND.padding && length <= this.#maxFrameBytes) {
      this.#skip = length
      return
    }
    const isKnown = kind === KIND.frame || this.#isGoodbye
    if (!isKnown || length > (this.#isGoodbye ? MAX_GOODBYE_BYTES : this.#maxFrameBytes)) {
      this.stop()
      return this.#handlers.ended(TOO_BIG, true)
    }
    this.#body = allocate(length)
    this.#filled = 0
  }

  #finish(body: Uint8Array): void {
    this.#body = undefined
    if (!this.#isGoodbye) return this.#handlers.frame(body)
    this.stop()
    const view = new DataView(body.buffer, body.byteOffset, body.length)
    const isWhole = body.length >= 2
    const ended = isWhole
      ? { code: view.getUint16(0), reason: new TextDecoder().decode(body.subarray(2)) }
      : NO_GOODBYE
    this.#handlers.ended(ended, false)
  }
}
