import { TunnelError } from './errors.ts'
import { excessOf, parseObject } from './json.ts'

/** The first byte of a frame, without its flags. docs/PROTOCOL.md has the layouts. */
export const FrameType = {
  HELLO: 0x01,
  PING: 0x02,
  PONG: 0x03,
  AUTH: 0x04,
  GOAWAY: 0x05,
  MESH: 0x06,
  OPEN: 0x10,
  ACCEPT: 0x11,
  DATA: 0x12,
  AUX: 0x13,
  EVENT: 0x14,
  END: 0x15,
  WINDOW: 0x20,
  RESET: 0x21,
  SUSPEND: 0x22,
  RESUME: 0x23,
  RESUMED: 0x24,
} as const
export type FrameType = (typeof FrameType)[keyof typeof FrameType]

/** On OPEN, ACCEPT and DATA: this side sends no more (half close). */
export const END_FLAG = 0x80
/** On DATA and AUX: the sender has more and its window is used up, so a larger one would be used. */
export const BLOCKED_FLAG = 0x40
export const TYPE_MASK = 0x3f

/** `type u8 | stream u32`, before every body. */
export const HEADER_BYTES = 5
/** The longest payload of a DATA or AUX frame that we send. */
export const MAX_DATA_BYTES = 65_536
/** Offsets are u48 on the wire. */
export const MAX_OFFSET = 2 ** 48 - 1
/** Stream numbers are u32 on the wire. */
export const MAX_STREAM_NUMBER = 2 ** 32 - 1
const WINDOW_BODY_BYTES = 12

/** The flags each type may carry. */
const FLAGS_OF_TYPE: Readonly<Record<number, number>> = {
  [FrameType.OPEN]: END_FLAG,
  [FrameType.ACCEPT]: END_FLAG,
  [FrameType.DATA]: END_FLAG | BLOCKED_FLAG,
  [FrameType.AUX]: BLOCKED_FLAG,
}
/** Indexed by a frame's first byte: 1 for a known type with flags that it may have. */
const KNOWN = new Uint8Array(256)
for (const type of Object.values(FrameType)) {
  const flags = FLAGS_OF_TYPE[type] ?? 0
  for (const set of [0, END_FLAG, BLOCKED_FLAG, END_FLAG | BLOCKED_FLAG]) {
    if ((set & ~flags) === 0) KNOWN[type | set] = 1
  }
}

/** Whether this first byte is a known type with flags that it may have. */
export function isKnownType(typeByte: number): boolean {
  return KNOWN[typeByte] === 1
}

/** Whether a frame advances its direction's offset. */
export function isCounted(type: number): boolean {
  return type >= FrameType.ACCEPT && type <= FrameType.END
}

interface BufferAllocator {
  allocUnsafeSlow(size: number): Uint8Array
}
const nodeBuffer = (globalThis as { Buffer?: BufferAllocator }).Buffer
/** Memory that is written over at once: Node need not clear it first, a browser always does. */
export const allocate: (size: number) => Uint8Array =
  nodeBuffer === undefined ? (size) => new Uint8Array(size) : (size) => nodeBuffer.allocUnsafeSlow(size)

const encoder = new TextEncoder()
/** Most texts fit: then no memory is taken for them but that of their frame. */
const scratch = new Uint8Array(8_192)

/** A text in UTF-8, to be copied before the next one. */
function encoded(text: string): Uint8Array {
  const { read, written } = encoder.encodeInto(text, scratch)
  return read === text.length ? scratch.subarray(0, written) : encoder.encode(text)
}

export function streamNumber(frame: Uint8Array): number {
  return ((frame[1]! << 24) | (frame[2]! << 16) | (frame[3]! << 8) | frame[4]!) >>> 0
}

export function setStreamNumber(frame: Uint8Array, stream: number): void {
  frame[1] = stream >>> 24
  frame[2] = (stream >>> 16) & 0xff
  frame[3] = (stream >>> 8) & 0xff
  frame[4] = stream & 0xff
}

/** A frame with an uninitialised body of `bodyBytes`. */
export function newFrame(typeByte: number, stream: number, bodyBytes: number): Uint8Array {
  const frame = allocate(HEADER_BYTES + bodyBytes)
  frame[0] = typeByte
  setStreamNumber(frame, stream)
  return frame
}

/** A copy with memory of its own; a Node Buffer's own `slice` would share it. */
export function copyFrame(frame: Uint8Array): Uint8Array {
  const copy = allocate(frame.length)
  copy.set(frame)
  return copy
}

export function encodeFrame(typeByte: number, stream: number, body?: Uint8Array): Uint8Array {
  const frame = newFrame(typeByte, stream, body?.length ?? 0)
  if (body !== undefined) frame.set(body, HEADER_BYTES)
  return frame
}

export function encodeJson(type: FrameType, stream: number, value: unknown): Uint8Array {
  return encodeText(type, stream, JSON.stringify(value))
}

/** A frame whose body is JSON already. */
export function encodeText(type: FrameType, stream: number, json: string): Uint8Array {
  return encodeFrame(type, stream, encoded(json))
}

/** OPEN and ACCEPT: `u32 length | JSON head | first bytes of data`. */
export function encodeHead(typeByte: number, stream: number, head: unknown, first?: Uint8Array): Uint8Array {
  return encodeHeadText(typeByte, stream, JSON.stringify(head), first)
}

/** The same for a head that is JSON already. */
export function encodeHeadText(
  typeByte: number,
  stream: number,
  head: string,
  first?: Uint8Array,
): Uint8Array {
  const json = encoded(head)
  const frame = newFrame(typeByte, stream, 4 + json.length + (first?.length ?? 0))
  new DataView(frame.buffer, frame.byteOffset).setUint32(HEADER_BYTES, json.length)
  frame.set(json, HEADER_BYTES + 4)
  if (first !== undefined) frame.set(first, HEADER_BYTES + 4 + json.length)
  return frame
}

/** @throws {TunnelError} FRAME_INVALID for what is not a JSON object, or is longer, deeper or fuller than it may be */
export function decodeJson(frame: Uint8Array): Record<string, unknown> {
  return parseObject(frame.subarray(HEADER_BYTES))
}

/** @throws {TunnelError} FRAME_INVALID */
export function decodeHead(frame: Uint8Array): {
  head: Record<string, unknown>
  headBytes: number
  first: Uint8Array
} {
  if (frame.length < HEADER_BYTES + 4)
    throw new TunnelError('FRAME_INVALID', 'a head needs its length', { hop: 'link' })
  const length = new DataView(frame.buffer, frame.byteOffset).getUint32(HEADER_BYTES)
  const start = HEADER_BYTES + 4
  if (length > frame.length - start)
    throw new TunnelError('FRAME_INVALID', 'a head is longer than its frame', { hop: 'link' })
  const head = parseObject(frame.subarray(start, start + length))
  return { head, headBytes: length, first: frame.subarray(start + length) }
}

/**
 * Whether an OPEN or RESUME is more than its receiver reads, who takes frames of `maxFrameBytes`: it would end the link for
 * it, and with that everybody else's streams.
 */
export function isStartTooLarge(frame: Uint8Array, maxFrameBytes: number): boolean {
  return frame.length > maxFrameBytes || excessOf(startJson(frame)) !== undefined
}

function startJson(frame: Uint8Array): Uint8Array {
  if ((frame[0]! & TYPE_MASK) !== FrameType.OPEN) return frame.subarray(HEADER_BYTES)
  const start = HEADER_BYTES + 4
  return frame.subarray(start, start + new DataView(frame.buffer, frame.byteOffset).getUint32(HEADER_BYTES))
}

export interface WindowUpdate {
  /** All up to this offset is safe in the receiver's process. */
  received: number
  /** The sender may send no further than this offset. */
  limit: number
}

export function encodeWindow(stream: number, { received, limit }: WindowUpdate): Uint8Array {
  const frame = newFrame(FrameType.WINDOW, stream, WINDOW_BODY_BYTES)
  const view = new DataView(frame.buffer, frame.byteOffset)
  view.setUint16(5, Math.floor(received / 2 ** 32))
  view.setUint32(7, received >>> 0)
  view.setUint16(11, Math.floor(limit / 2 ** 32))
  view.setUint32(13, limit >>> 0)
  return frame
}

/** @throws {TunnelError} FRAME_INVALID when the body has another length. */
export function decodeWindow(frame: Uint8Array): WindowUpdate {
  if (frame.length !== HEADER_BYTES + WINDOW_BODY_BYTES) {
    throw new TunnelError('FRAME_INVALID', `a WINDOW has a body of ${frame.length - HEADER_BYTES} bytes`, {
      hop: 'link',
    })
  }
  const view = new DataView(frame.buffer, frame.byteOffset)
  return {
    received: view.getUint16(5) * 2 ** 32 + view.getUint32(7),
    limit: view.getUint16(11) * 2 ** 32 + view.getUint32(13),
  }
}
