import { FileError } from '../../client/index.ts'
import { type ByteWindow, MAX_BYTES } from './byte-window.ts'
import { PIECE_BYTES, type ReadEnd, type WriteEnd } from './files.ts'
import type { OrderedHash } from './ordered-hash.ts'

/**
 * How far the last byte that was written may be ahead of the first that was not, in bytes. So much is copied again of a
 * file whose copy ended without a word.
 */
export const SPREAD_BYTES = MAX_BYTES

export interface Move {
  reader: ReadEnd
  writer: WriteEnd
  /** Of the source, for what a person is told. */
  told: string
  hop: 'client' | 'target'
  from: number
  to: number
  window: ByteWindow
  hash: OrderedHash
  signal: AbortSignal
  onMoved: (byteCount: number) => void
  /** All before this offset is written. */
  onWritten?: ((offset: number) => void) | undefined
}

/**
 * Copies the bytes from `from` to `to`, many pieces at once. Answers with the offset up to which all are written: `to`,
 * or less where it was ended by the signal or, with `error`, by a failure.
 */
export async function moveBytes(move: Move): Promise<{ doneTo: number; error?: unknown }> {
  const { reader, writer, window, hash, signal, to } = move
  /** What has been written ahead of something that has not. */
  const written = new Map<number, Buffer>()
  let doneTo = move.from
  let next = move.from
  let running = 0
  let failure: { error: unknown } | undefined
  let wake = (): void => {}
  const moved = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve
    })
  const onAbort = (): void => wake()
  signal.addEventListener('abort', onAbort)

  async function piece(offset: number, byteCount: number): Promise<void> {
    const bytes = await reader.read(offset, byteCount)
    if (bytes.length < byteCount) throw new BecameShorter(move.told, move.hop)
    hash.add(offset, bytes)
    await writer.write(offset, bytes)
    written.set(offset, bytes)
    for (let first = written.get(doneTo); first !== undefined; first = written.get(doneTo)) {
      written.delete(doneTo)
      doneTo += first.length
      // All before it has been read, and so it has been hashed as well.
      reader.release?.(first)
    }
    move.onWritten?.(doneTo)
    move.onMoved(byteCount)
  }

  while (next < to && failure === undefined && !signal.aborted) {
    if (next - doneTo >= SPREAD_BYTES) {
      await moved()
      continue
    }
    const offset = next
    const byteCount = Math.min(PIECE_BYTES, to - offset)
    next += byteCount
    await window.take(byteCount)
    running++
    void piece(offset, byteCount)
      .catch((error: unknown) => {
        failure ??= { error }
      })
      .finally(() => {
        running--
        window.give(byteCount)
        wake()
      })
  }
  while (running > 0) await moved()
  signal.removeEventListener('abort', onAbort)
  return { doneTo, ...failure }
}

/** A source that is not what it was when its copy began; what there is of that copy is of no use. */
export class BecameShorter extends FileError {
  constructor(told: string, hop: Move['hop']) {
    super(`${told} cannot be copied`, 'other', { hop, detail: 'it became shorter meanwhile' })
  }
}
