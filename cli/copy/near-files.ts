import type { Stats } from 'node:fs'
import * as fs from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { FileError, type FileProblem } from '../../client/index.ts'
import {
  type Entry,
  type FileInfo,
  type Files,
  PERMISSIONS,
  PIECE_BYTES,
  type ReadEnd,
  type WriteEnd,
} from './files.ts'

const PROBLEMS: ReadonlyMap<string, FileProblem> = new Map([
  ['ENOENT', 'missing'],
  ['EACCES', 'denied'],
  ['EPERM', 'denied'],
  ['EISDIR', 'folder'],
  ['ENOTDIR', 'not-folder'],
  ['EEXIST', 'exists'],
  ['ENOSPC', 'full'],
  ['EDQUOT', 'full'],
  ['ENAMETOOLONG', 'name'],
])

/** Does what is tried with a file of this computer. @throws {FileError} */
async function attempt<T>(tried: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    throw nearError(tried, cause)
  }
}

function nearError(tried: string, cause: unknown): FileError {
  const { code = '', message } = cause as NodeJS.ErrnoException
  const detail = code === 'EROFS' ? 'the disk is read-only' : code || message
  return new FileError(tried, PROBLEMS.get(code) ?? 'other', { hop: 'client', cause, detail })
}

function infoOf(stats: Stats): FileInfo {
  const kind = stats.isFile()
    ? 'file'
    : stats.isDirectory()
      ? 'folder'
      : stats.isSymbolicLink()
        ? 'link'
        : 'other'
  const [accessed, modified] = [Math.floor(stats.atimeMs / 1_000), Math.floor(stats.mtimeMs / 1_000)]
  return { kind, size: stats.size, mode: stats.mode & PERMISSIONS, accessed, modified }
}

async function unlessMissing(path: string, look: () => Promise<Stats>): Promise<FileInfo | undefined> {
  try {
    return infoOf(await look())
  } catch (cause) {
    const error = nearError(`${path} cannot be looked at`, cause)
    if (error.problem === 'missing' || error.problem === 'not-folder') return undefined
    throw error
  }
}

/** The files of this computer. */
export const nearFiles: Files = {
  isNear: true,
  told: (path) => path,
  join,
  baseName: (path) => basename(path),
  folderOf: (path) => dirname(path),
  info: (path) => unlessMissing(path, () => fs.stat(path)),
  realPath: (path) => attempt(`${path} cannot be looked at`, () => fs.realpath(path)),
  linkInfo: (path) => unlessMissing(path, () => fs.lstat(path)),
  list: (folder) => attempt(`${folder} cannot be read`, () => list(folder)),
  async makeFolder(path, mode) {
    try {
      await fs.mkdir(path, { mode })
    } catch (cause) {
      // Never through a link: what is on the other side of it was not asked for.
      const found = await unlessMissing(path, () => fs.lstat(path))
      if (found?.kind !== 'folder') throw nearError(`${path} cannot be made`, cause)
    }
  },
  readLink: (path) => attempt(`${path} cannot be read`, () => fs.readlink(path)),
  makeLink: (path, to) =>
    attempt(`${path} cannot be made`, async () => {
      const found = await fs.lstat(path).catch(() => undefined)
      if (found !== undefined && !found.isDirectory()) await fs.unlink(path)
      await fs.symlink(to, path)
    }),
  openRead: (path) => attempt(`${path} cannot be read`, async () => readEnd(path, await fs.open(path, 'r'))),
  openWrite: (path, mode, isNew) =>
    attempt(`${path} cannot be written`, async () => {
      const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = fs.constants
      const how = O_WRONLY | O_CREAT | O_NOFOLLOW | (isNew ? O_EXCL : 0)
      return writeEnd(path, await fs.open(path, how, mode))
    }),
  setMode: (path, mode) => attempt(`${path} cannot be changed`, () => fs.chmod(path, mode)),
  setTimes: (path, { accessed, modified }) =>
    attempt(`${path} cannot be changed`, () => fs.utimes(path, accessed, modified)),
  replace: (from, to) => attempt(`${to} cannot be written`, () => fs.rename(from, to)),
  remove: (path) => attempt(`${path} cannot be removed`, () => fs.unlink(path)),
}

async function list(folder: string): Promise<Entry[]> {
  const entries: Entry[] = []
  for (const bytes of await fs.readdir(folder, { encoding: 'buffer' })) {
    const name = bytes.toString()
    const isText = Buffer.from(name).equals(bytes)
    const path = Buffer.concat([Buffer.from(join(folder, '/')), bytes])
    // One that has gone since the folder was read was never there.
    const stats = await fs.lstat(path).catch(() => undefined)
    if (stats !== undefined)
      entries.push({ name: isText ? name : undefined, shown: name, info: infoOf(stats) })
  }
  return entries
}

/** Memory of pieces that have been copied: to collect it would cost a third of the work. */
const spare: Buffer[] = []
const MAX_SPARE = 128

function newPiece(): Buffer {
  return Buffer.allocUnsafeSlow(PIECE_BYTES)
}

function readEnd(path: string, file: fs.FileHandle): ReadEnd {
  return {
    read: (offset, byteCount) =>
      attempt(`${path} cannot be read`, async () => {
        const buffer = byteCount === PIECE_BYTES ? (spare.pop() ?? newPiece()) : Buffer.allocUnsafe(byteCount)
        let filled = 0
        while (filled < byteCount) {
          const { bytesRead } = await file.read(buffer, filled, byteCount - filled, offset + filled)
          if (bytesRead === 0) break
          filled += bytesRead
        }
        return buffer.subarray(0, filled)
      }),
    release(bytes) {
      if (bytes.length === PIECE_BYTES && spare.length < MAX_SPARE) spare.push(bytes)
    },
    info: () => attempt(`${path} cannot be looked at`, async () => infoOf(await file.stat())),
    close: () => file.close(),
  }
}

function writeEnd(path: string, file: fs.FileHandle): WriteEnd {
  return {
    write: (offset, bytes) =>
      attempt(`${path} cannot be written`, async () => {
        for (let done = 0; done < bytes.length; ) {
          done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten
        }
      }),
    truncate: (size) => attempt(`${path} cannot be written`, () => file.truncate(size)),
    close: () => attempt(`${path} cannot be written`, () => file.close()),
  }
}
