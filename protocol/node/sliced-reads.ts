import type { Readable } from 'node:stream'

/** What is handed on at once of what a socket has read, in bytes: half a millisecond's work, whatever is in it. */
const SLICE_BYTES = 2_048
/** Frames in one read that only a peer sends which has many small ones. */
const MANY_FRAMES = 512

/**
 * Makes a pause hold within one read of the socket. `ws` takes all of a read at once, though it is paused meanwhile, and
 * 64 KiB can be ten thousand frames: ten milliseconds in which nobody else has a turn. From a socket that has once brought
 * so many in one read, all that follows comes in slices, which wait in the socket's own buffer while it is paused. Others
 * are read as ever: what is cut has to be copied together again.
 * @param frames how many have come so far
 */
export function sliceReads(socket: Readable, frames: () => number): void {
  const push = socket.push.bind(socket)
  let isSliced = false
  socket.push = (chunk: Uint8Array | null, encoding?: BufferEncoding): boolean => {
    if (chunk === null || chunk.length <= SLICE_BYTES) return push(chunk, encoding)
    if (!isSliced) {
      const before = frames()
      const more = push(chunk, encoding)
      isSliced = frames() - before > MANY_FRAMES
      return more
    }
    let more = true
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) more = push(chunk.subarray(at, at + SLICE_BYTES))
    return more
  }
}
