import { randomBytes } from 'node:crypto'
import {
  chownSync,
  closeSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { TunnelError } from '../protocol/codec/errors.ts'
import { fileReason } from '../protocol/node/file-reason.ts'
import { makeFolder } from '../protocol/node/folders.ts'
import { inTurn } from './turn.ts'

/** How long another program's turn is waited for, in ms. */
const WAIT_MS = 10_000

type Change = (before: Buffer | undefined) => Buffer | string | undefined | null

/**
 * Changes a file of the person's, whole or not at all; of several processes that do so at once each sees what the one
 * before it wrote. A symbolic link stays one: what it leads to is replaced.
 * @param change from what is there, if anything, to what is to be there; undefined leaves it as it is, null removes it
 * @param mode that the file has afterwards; by default it is its owner's alone
 * @returns whether it was changed
 * @throws {TunnelError} CONFIG_INVALID where it cannot be read or written
 */
export async function updateFile(path: string, change: Change, mode = 0o600): Promise<boolean> {
  try {
    const file = targetOf(path)
    makeFolder(dirname(file))
    const deadlineMs = performance.now() + WAIT_MS
    for (;;) {
      const changed = inTurn(`${file}.lock`, () => replace(file, change, mode))
      if (changed !== undefined) return changed
      if (performance.now() > deadlineMs) {
        const message = `${path} is being changed by another program (delete ${file}.lock if there is none)`
        throw new TunnelError('CONFIG_INVALID', message, { hop: 'client' })
      }
      await delay(10 + Math.random() * 20)
    }
  } catch (error) {
    throw error instanceof TunnelError ? error : unwritable(path, error)
  }
}

/** That a file of the person's cannot be written, and why. */
export function unwritable(path: string, cause: unknown): TunnelError {
  const isNowhere = (cause as NodeJS.ErrnoException).code === 'ENOENT'
  const reason = isNowhere ? 'a folder cannot be made there, ENOENT' : fileReason(cause)
  return new TunnelError('CONFIG_INVALID', `${path} cannot be written (${reason})`, { hop: 'client', cause })
}

/** Where a link leads, even when nothing is there yet. */
function targetOf(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  try {
    return resolve(dirname(path), readlinkSync(path))
  } catch {
    return resolve(path)
  }
}

function replace(file: string, change: Change, mode: number): boolean {
  const found = statSync(file, { throwIfNoEntry: false })
  if (found?.isFile() === false) throw new Error('it is not a plain file')
  const before = found === undefined ? undefined : readFileSync(file)
  const after = change(before)
  if (after === null) {
    rmSync(file, { force: true })
    return before !== undefined
  }
  if (after === undefined || before?.equals(Buffer.from(after)) === true) return false
  const draft = `${file}.${process.pid}.${randomBytes(6).toString('hex')}`
  try {
    const descriptor = openSync(draft, 'wx', 0o600)
    try {
      fchmodSync(descriptor, mode)
      const bytes = Buffer.from(after)
      for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at)
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
    // Under sudo the home folder may be another person's, and so must be what is in it.
    const owner = found ?? statSync(dirname(file))
    if (process.getuid !== undefined && owner.uid !== process.getuid()) chownSync(draft, owner.uid, owner.gid)
    renameSync(draft, file)
    return true
  } finally {
    rmSync(draft, { force: true })
  }
}
