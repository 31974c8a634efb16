import { allocate, HEADER_BYTES, MAX_DATA_BYTES } from './frames.ts'

const CAPACITY_BYTES = HEADER_BYTES + MAX_DATA_BYTES
/** Below this a frame gets memory of its own, in bytes: a keystroke shall not hold 64 KiB. */
const MIN_BYTES = CAPACITY_BYTES / 4
/** Buffers kept for the next frames, in all: 16 MiB. */
const MAX_IDLE = 256

const idle: Uint8Array[] = []

/**
 * Memory for a frame of `byteCount`. Bulk data makes thousands of large buffers a second, which the garbage collector
 * pays for dearly: a sender gives back those that its peer has acknowledged.
 */
export function takeFrame(byteCount: number): Uint8Array {
  if (byteCount < MIN_BYTES || byteCount > CAPACITY_BYTES) return allocate(byteCount)
  return (idle.pop() ?? allocate(CAPACITY_BYTES)).subarray(0, byteCount)
}

/** Only for a frame of `takeFrame` that nobody refers to any more, no socket either. */
export function giveFrame(frame: Uint8Array): void {
  if (frame.length < MIN_BYTES || frame.buffer.byteLength !== CAPACITY_BYTES || idle.length >= MAX_IDLE)
    return
  idle.push(frame.byteLength === CAPACITY_BYTES ? frame : new Uint8Array(frame.buffer))
}
