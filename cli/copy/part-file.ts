import { setTimeout as delay } from 'node:timers/promises'
import { FileError } from '../../client/index.ts'
import { type FileInfo, type Files, PIECE_BYTES } from './files.ts'
import { SPREAD_BYTES } from './move-bytes.ts'
import type { CopyContext } from './transfer.ts'

/** What an unfinished copy is called behind the name that it will have. */
export const PART_SUFFIX = '.tunnel-part'
/** How long a part file that may be another's is watched, in ms: times of files are whole seconds. */
const STILL_MS = 3_000

/**
 * Two copies that write to one file would spoil it for both. One that is at work writes every moment, unless its network
 * is away; what a killed one left stays as it is.
 */
export async function refuseWhileWritten(
  { to, signal }: CopyContext,
  target: string,
  part: string,
  left: FileInfo,
): Promise<void> {
  await delay(STILL_MS, undefined, { signal })
  const now = await to.linkInfo(part)
  if (now?.size !== left.size || now.modified !== left.modified) throw underWay(to, target)
}

export function underWay(to: Files, target: string): FileError {
  return new FileError(`${to.told(target)} cannot be written`, 'other', {
    hop: to.isNear ? 'client' : 'target',
    detail: 'another copy to it is under way',
  })
}

/**
 * From where an earlier copy can be gone on with. One that was ended in order is as long as what is right in it, and has
 * the source's time; another one may have holes near its end, and only its checksum will say whether it is of this source.
 */
export function resumeOffset(left: FileInfo | undefined, info: FileInfo, { checksums }: CopyContext): number {
  if (left === undefined || left.size > info.size) return 0
  if (left.modified === info.modified) return left.size
  if (checksums === undefined) return 0
  const safe = Math.floor((left.size - SPREAD_BYTES) / PIECE_BYTES) * PIECE_BYTES
  return Math.max(0, safe)
}
