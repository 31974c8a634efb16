import { allocate, HEADER_BYTES, MAX_DATA_BYTES } from '../codec/frames.ts'

const CAPACITY_BYTES = HEADER_BYTES + MAX_DATA_BYTES
/** Below this a frame gets memory of its own, in bytes: a keystroke shall not hold 64 KiB. */
const MIN_BYTES = CAPACITY_BYTES / 4

/**
 * Memory for the frames of one stream. Bulk data makes thousands of large buffers a second, which the garbage collector
 * pays for dearly: a sender gives back those that its peer has acknowledged. A peer may say so of what is still in our
 * socket, and then gets what was written over it: so no other stream's bytes may ever be.
 */
export class FramePool {
  #idle: Uint8Array[] = []

  take(byteCount: number): Uint8Array {
    if (byteCount < MIN_BYTES || byteCount > CAPACITY_BYTES) return allocate(byteCount)
    return (this.#idle.pop() ?? allocate(CAPACITY_BYTES)).subarray(0, byteCount)
  }

  /** Only for a frame of `take`, of which no more than `keepBytes` are kept. */
  give(frame: Uint8Array, keepBytes: number): void {
    if (frame.length < MIN_BYTES || frame.buffer.byteLength !== CAPACITY_BYTES) return
    if ((this.#idle.length + 1) * CAPACITY_BYTES > keepBytes) return
    this.#idle.push(frame.byteLength === CAPACITY_BYTES ? frame : new Uint8Array(frame.buffer))
  }

  clear(): void {
    this.#idle = []
  }
}
