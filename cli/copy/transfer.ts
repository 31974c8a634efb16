import { FileError } from '../../client/index.ts'
import { unlessStopped } from '../stop.ts'
import type { ByteWindow } from './byte-window.ts'
import { type Checked, check } from './check.ts'
import type { Checksums } from './checksums.ts'
import {
  type FileInfo,
  type Files,
  PIECE_BYTES,
  PLAIN_PERMISSIONS,
  type ReadEnd,
  type WriteEnd,
} from './files.ts'
import type { GrowingChecksum } from './growing-checksum.ts'
import { BecameShorter, moveBytes } from './move-bytes.ts'
import { OrderedHash } from './ordered-hash.ts'
import { PART_SUFFIX, refuseWhileWritten, resumeOffset, underWay } from './part-file.ts'

/** What all files of one copy have in common. */
export interface CopyContext {
  from: Files
  to: Files
  window: ByteWindow
  /** Undefined where nothing is to be checked. */
  checksums: Checksums | undefined
  /** Modes and times are those of the source. */
  preserve: boolean
  signal: AbortSignal
  /** Bytes of a file are there; negative where they are to be copied again. */
  onMoved: (byteCount: number) => void
  /** What an earlier copy left turned out to be of something else: all of it is copied again. */
  onRestart: (target: string) => void
  /** A checksum is being made. */
  onChecking: (path: string) => void
}

export interface Copied {
  bytes: number
  sha256: string
  checked: Checked
  /** How much an earlier copy had left. */
  resumedFrom: number
  /** The source was written to meanwhile: what was copied may be neither the former nor the present state. */
  changed: boolean
}

/** A copy that did not come to its end. */
export class Unfinished extends Error {
  override readonly name = 'Unfinished'
  override readonly cause: unknown
  /** What is left of it to go on from. */
  readonly kept: { part: string; bytes: number } | undefined

  constructor(cause: unknown, kept?: { part: string; bytes: number }) {
    super('a copy did not come to its end')
    this.cause = cause
    this.kept = kept
  }
}

interface Open {
  source: string
  part: string
  info: FileInfo
  reader: ReadEnd
  writer: WriteEnd
}

/**
 * Copies one file, to a part file that takes the target's place when all is there and right.
 * @throws {Unfinished}
 */
export async function transfer(
  context: CopyContext,
  source: string,
  target: string,
  info: FileInfo,
): Promise<Copied> {
  try {
    return await attempt(context, source, target, info, true)
  } catch (error) {
    if (error instanceof Unfinished) throw error
    throw new Unfinished(error)
  }
}

async function attempt(
  context: CopyContext,
  source: string,
  target: string,
  info: FileInfo,
  mayResume: boolean,
): Promise<Copied> {
  const { from, to } = context
  const part = `${target}${PART_SUFFIX}`
  const [old, left] = await Promise.all([to.info(target), to.linkInfo(part)])
  if (old !== undefined && old.kind !== 'file') throw notAFile(to, target, old)
  if (left !== undefined && left.kind !== 'file') throw notAFile(to, part, left)
  // One that was ended in order has the source's time; in this one somebody may be writing.
  if (mayResume && left !== undefined && left.modified !== info.modified)
    await refuseWhileWritten(context, target, part, left)
  const resumedFrom = mayResume ? resumeOffset(left, info, context) : 0
  const reader = await from.openRead(source)
  const mode = info.mode & PLAIN_PERMISSIONS
  const writer = await to.openWrite(part, mode, left === undefined).catch(async (error: unknown) => {
    await reader.close()
    const wasMade = left === undefined && (await to.linkInfo(part)) !== undefined
    throw wasMade ? underWay(to, target) : error
  })
  const open: Open = { source, part, info, reader, writer }
  // Bytes of another length would stay behind the end.
  if (left !== undefined && left.size > info.size) await writer.truncate(resumedFrom)
  // The machine reads its file while we do, or while we write.
  const early = from.isNear ? undefined : context.checksums?.ask(source)
  const growing = from.isNear ? context.checksums?.whileItGrows(part, info.size) : undefined
  let isRight: boolean
  const copied: Copied = { bytes: info.size, sha256: '', checked: 'not checked', resumedFrom, changed: false }
  try {
    isRight = await moveAndCheck(context, open, copied, { early, growing })
  } finally {
    growing?.stop()
  }
  const isDoubtful = copied.checked !== 'both sides' && resumedFrom > 0 && left?.modified !== info.modified
  if (!isRight || isDoubtful) {
    context.onMoved(-info.size)
    if (resumedFrom > 0) {
      context.onRestart(target)
      return attempt(context, source, target, info, false)
    }
    await to.remove(part)
    throw new FileError(`${to.told(target)} cannot be written`, 'other', {
      hop: 'target',
      detail: 'what arrived has another checksum than what was sent',
    })
  }
  if (context.preserve) {
    await to.setMode(part, info.mode)
    await to.setTimes(part, info)
  } else if (resumedFrom > 0) {
    const seconds = Math.floor(Date.now() / 1_000)
    await to.setTimes(part, { accessed: seconds, modified: seconds })
  }
  await to.replace(part, target)
  return copied
}

interface FarSums {
  early: Promise<string | undefined> | undefined
  growing: GrowingChecksum | undefined
}

/** Fills in what `copied` tells. @returns whether what is in the part file is right @throws {Unfinished} */
async function moveAndCheck(
  context: CopyContext,
  open: Open,
  copied: Copied,
  { early, growing }: FarSums,
): Promise<boolean> {
  const { from, signal } = context
  const { source, part, info, reader, writer } = open
  const hash = new OrderedHash()
  context.onMoved(copied.resumedFrom)
  const { doneTo, error } = await hashPrefix(open, context, hash, copied.resumedFrom).then(
    () =>
      moveBytes({
        ...{ reader, writer, window: context.window, hash, signal, onMoved: context.onMoved },
        onWritten: (offset) => growing?.grown(offset),
        ...{ told: from.told(source), hop: from.isNear ? 'client' : 'target' },
        ...{ from: copied.resumedFrom, to: info.size },
      }),
    (error: unknown) => ({ doneTo: copied.resumedFrom, error }),
  )
  if (error !== undefined || doneTo < info.size) throw await giveUp(open, context, doneTo, error)
  const now = await reader.info()
  copied.changed = now.size !== info.size || now.modified !== info.modified
  copied.sha256 = hash.digest()
  const { sha256, changed } = copied
  const { checked, isRight } = await unlessStopped(
    check(context, { source, part, size: info.size, sha256, changed, early: early ?? growing?.whole() }),
    signal,
  ).catch(async (error: unknown) => {
    throw await giveUp(open, context, info.size, signal.aborted ? undefined : error)
  })
  copied.checked = checked
  await Promise.all([reader.close(), writer.close()])
  return isRight
}

/** What is not copied again is part of the checksum: it is read from this computer's side, whichever that is. */
async function hashPrefix(
  { reader, part, source }: Open,
  { from, to, signal }: CopyContext,
  hash: OrderedHash,
  end: number,
): Promise<void> {
  if (end === 0) return
  const near = from.isNear ? reader : await to.openRead(part)
  try {
    for (let at = 0; at < end && !signal.aborted; ) {
      const bytes = await near.read(at, Math.min(PIECE_BYTES, end - at))
      if (bytes.length === 0)
        throw new BecameShorter(near === reader ? from.told(source) : to.told(part), 'client')
      hash.add(at, bytes)
      at += bytes.length
      near.release?.(bytes)
    }
  } finally {
    if (near !== reader) await near.close()
  }
}

/** Leaves a part file that can be gone on with, or none. */
async function giveUp(
  { part, info, reader, writer }: Open,
  { to, signal }: CopyContext,
  doneTo: number,
  error: unknown,
): Promise<Unfinished> {
  const cause = error ?? signal.reason
  // Where the way to the machine is gone nothing can be put in order there; the next copy takes that into account.
  const isWayLost = error !== undefined && !(error instanceof FileError)
  const bytes = error instanceof BecameShorter ? 0 : doneTo
  await reader.close()
  if (isWayLost && !to.isNear) return new Unfinished(cause, bytes === 0 ? undefined : { part, bytes })
  try {
    if (bytes > 0) await writer.truncate(bytes)
    await writer.close()
    if (bytes === 0) {
      await to.remove(part)
      return new Unfinished(cause)
    }
    await to.setTimes(part, info)
  } catch {
    // It is as an end without a word leaves it.
  }
  return new Unfinished(cause, { part, bytes })
}

function notAFile(files: Files, path: string, { kind }: FileInfo): FileError {
  const hop = files.isNear ? 'client' : 'target'
  const tried = `${files.told(path)} cannot be written`
  return kind === 'folder'
    ? new FileError(tried, 'folder', { hop })
    : new FileError(tried, 'other', { hop, detail: 'it is not a regular file' })
}
