import { createCipheriv, createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'

const CHUNK_BYTES = 256 * 1_024

function keystream(seed: string | number) {
  const key = createHash('sha256').update(`seed ${seed}`).digest().subarray(0, 16)
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
}

/** Bytes that look random and are the same for the same seed. */
export function seededBytes(seed: string | number, byteCount: number): Buffer {
  return keystream(seed).update(Buffer.alloc(byteCount))
}

/** The same bytes in pieces, for sizes that should not be held in memory. */
export function* seededChunks(seed: string | number, byteCount: number): Generator<Buffer> {
  const stream = keystream(seed)
  const zeros = Buffer.alloc(CHUNK_BYTES)
  for (let left = byteCount; left > 0; left -= CHUNK_BYTES) {
    yield stream.update(zeros.subarray(0, Math.min(CHUNK_BYTES, left)))
  }
}

export function seededStream(seed: string | number, byteCount: number): Readable {
  return Readable.from(seededChunks(seed, byteCount), { objectMode: false })
}

/** The SHA-256 of those bytes, in hex. */
export function seededSha256(seed: string | number, byteCount: number): string {
  const hash = createHash('sha256')
  for (const chunk of seededChunks(seed, byteCount)) hash.update(chunk)
  return hash.digest('hex')
}

/** Writes those bytes to a file and gives their SHA-256. */
export async function seededFile(path: string, seed: string | number, byteCount: number): Promise<string> {
  const file = await open(path, 'w')
  const hash = createHash('sha256')
  try {
    for (const chunk of seededChunks(seed, byteCount)) {
      hash.update(chunk)
      await file.write(chunk)
    }
  } finally {
    await file.close()
  }
  return hash.digest('hex')
}

/** Numbers in [0, 1) that are the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
