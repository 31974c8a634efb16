import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  unlinkSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { NOTHING_BEFORE, sha256 } from './line.ts'

/** The file that is written to. Those that were set aside stand before it when sorted by name, the oldest first. */
export const CURRENT = 'audit.log'
const SET_ASIDE = /^audit-\d{8}T\d{9}Z\.log$/
/** No line is longer. */
const MAX_LINE_BYTES = 65_536

/** Names of the files of a trail that were set aside, the oldest first. */
function setAside(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => SET_ASIDE.test(name))
    .sort()
}

/** Sets `file` aside under the time, and deletes the oldest beyond `keep`. Answers with the names. */
export function rotate(file: string, keep: number): { from: string; deleted: string[] } {
  const folder = dirname(file)
  let atMs = Date.now()
  // Renaming would replace one that is there.
  while (existsSync(join(folder, nameAt(atMs)))) atMs++
  const from = nameAt(atMs)
  renameSync(file, join(folder, from))
  const deleted = setAside(folder).slice(0, -keep)
  return { from, deleted: deleted.filter((name) => isDeleted(join(folder, name))) }
}

/** One that cannot be deleted now is tried again with the next. */
function isDeleted(file: string): boolean {
  try {
    unlinkSync(file)
    return true
  } catch {
    return false
  }
}

function nameAt(atMs: number): string {
  return `audit-${new Date(atMs).toISOString().replaceAll(/[-:.]/g, '')}.log`
}

/** The hash of the last line that is there: in `file`, or where that is empty in the newest that was set aside. */
export function lastHash(file: string): string {
  const folder = dirname(file)
  const newest = setAside(folder).at(-1)
  for (const path of [file, ...(newest === undefined ? [] : [join(folder, newest)])]) {
    const last = tailOf(path, MAX_LINE_BYTES).trimEnd().split('\n').at(-1) ?? ''
    if (last !== '') return sha256(last)
  }
  return NOTHING_BEFORE
}

/** Whether the file ends inside a line, as a crash leaves it. */
export function isTorn(file: string): boolean {
  const last = tailOf(file, 1)
  return last !== '' && last !== '\n'
}

/** The end of a plain file; of what is not there, or not a plain file, nothing. */
function tailOf(file: string, maxBytes: number): string {
  let descriptor: number
  try {
    descriptor = openSync(file, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
  try {
    const { size } = fstatSync(descriptor)
    const tail = Buffer.alloc(Math.min(size, maxBytes))
    readSync(descriptor, tail, 0, tail.length, size - tail.length)
    return tail.toString()
  } finally {
    closeSync(descriptor)
  }
}
