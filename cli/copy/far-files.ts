import { type FileAttributes, FileError, type Handle, OPEN, type SftpSession } from '../../client/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { Handles, NOTHING, readWhole } from './far-handles.ts'
import { type Entry, type FileInfo, type Files, PERMISSIONS, type ReadEnd, type WriteEnd } from './files.ts'
import type { Lanes } from './lanes.ts'

const TYPE_BITS = 0o170_000
const KINDS: ReadonlyMap<number, FileInfo['kind']> = new Map([
  [0o100_000, 'file'],
  [0o040_000, 'folder'],
  [0o120_000, 'link'],
])

function infoOf({ size = 0, mode = 0o100_644, accessed = 0, modified = 0 }: FileAttributes): FileInfo {
  const kind = KINDS.get(mode & TYPE_BITS) ?? 'other'
  return { kind, size, mode: mode & PERMISSIONS, accessed, modified }
}

/** The files of a machine. Paths are absolute, or begin at the user's home folder. */
export class FarFiles implements Files {
  readonly isNear = false
  readonly #machine: string
  readonly #lanes: Lanes

  constructor(machine: string, lanes: Lanes) {
    this.#machine = machine
    this.#lanes = lanes
  }

  told(path: string): string {
    return `${this.#machine}:${path}`
  }

  join(folder: string, name: string): string {
    return folder.endsWith('/') ? `${folder}${name}` : `${folder}/${name}`
  }

  baseName(path: string): string {
    return path.replace(/\/+$/, '').split('/').at(-1) ?? ''
  }

  folderOf(path: string): string {
    const end = path.lastIndexOf('/')
    return end < 0 ? '.' : path.slice(0, end) || '/'
  }

  /** An absolute path for what a person typed behind `MACHINE:`, with `~` and without `..`. */
  resolve(typed: string): Promise<string> {
    return this.#ask(async (session) => {
      const [first = '', ...rest] = typed.split('/')
      if (!first.startsWith('~'))
        return typed.startsWith('/') ? typed : this.join(await session.realPath('.'), typed)
      const home = await session.realPath(first === '~' ? '.' : first)
      return rest.length === 0 ? home : this.join(home, rest.join('/'))
    })
  }

  realPath(path: string): Promise<string> {
    return this.#ask((session) => session.realPath(path))
  }

  info(path: string): Promise<FileInfo | undefined> {
    return this.#unlessMissing((session) => session.stat(path))
  }

  linkInfo(path: string): Promise<FileInfo | undefined> {
    return this.#unlessMissing((session) => session.lstat(path))
  }

  async list(folder: string): Promise<Entry[]> {
    const found = await this.#ask((session) => session.list(folder))
    return found.map(({ name: bytes, attributes }) => {
      const name = bytes.toString()
      // What a machine calls its files decides where ours are written.
      if (/^(\.{0,2}|.*[/\0].*)$/s.test(name))
        throw new TunnelError('FRAME_INVALID', `${this.told(folder)} lists an impossible name`, {
          hop: 'target',
        })
      const isText = Buffer.from(name).equals(bytes)
      return { name: isText ? name : undefined, shown: name, info: infoOf(attributes) }
    })
  }

  async makeFolder(path: string, mode: number): Promise<void> {
    try {
      await this.#ask(async (session) => {
        try {
          await session.makeFolder(path, mode)
        } catch (error) {
          throw await this.#explained(session, path, error)
        }
      })
    } catch (error) {
      if (!(error instanceof FileError)) throw error
      const found = await this.linkInfo(path)
      if (found?.kind !== 'folder') throw error
    }
  }

  readLink(path: string): Promise<string> {
    return this.#ask((session) => session.readLink(path))
  }

  async makeLink(path: string, to: string): Promise<void> {
    const found = await this.linkInfo(path)
    if (found !== undefined && found.kind !== 'folder') await this.remove(path)
    await this.#ask(async (session, isAgain) => {
      try {
        await session.makeLink(path, to)
      } catch (error) {
        // It may have been made, and the answer been lost.
        if (!isAgain || (await session.readLink(path).catch(() => undefined)) !== to) throw error
      }
    })
  }

  async openRead(path: string): Promise<ReadEnd> {
    const handles = new Handles(this.#lanes, (session) => session.open(path, OPEN.READ))
    await handles.first()
    return {
      read: (offset, byteCount) =>
        handles.use(byteCount, (session, handle) => readWhole(session, handle, offset, byteCount, path)),
      info: async () => infoOf(await handles.use(NOTHING, (session, handle) => session.fstat(handle, path))),
      close: () => handles.close(),
    }
  }

  async openWrite(path: string, mode: number, isNew: boolean): Promise<WriteEnd> {
    let how = OPEN.WRITE | OPEN.CREATE | (isNew ? OPEN.EXCLUSIVE : 0)
    const handles = new Handles(this.#lanes, async (session) => {
      try {
        return await session.open(path, how, { mode })
      } catch (error) {
        throw await this.#explained(session, path, error)
      }
    })
    await handles.first()
    how = OPEN.WRITE
    return {
      write: (offset, bytes) =>
        handles.use(bytes.length, (session, handle) => this.#write(session, handle, offset, bytes, path)),
      truncate: (size) => handles.use(NOTHING, (session, handle) => session.fsetstat(handle, { size }, path)),
      close: () => handles.close(),
    }
  }

  setMode(path: string, mode: number): Promise<void> {
    return this.#ask((session) => session.setstat(path, { mode }))
  }

  setTimes(path: string, { accessed, modified }: { accessed: number; modified: number }): Promise<void> {
    return this.#ask((session) => session.setstat(path, { accessed, modified }))
  }

  replace(from: string, to: string): Promise<void> {
    return this.#ask(async (session, isAgain) => {
      try {
        await session.replace(from, to)
      } catch (error) {
        // It may have been done, and the answer been lost.
        const isDone = isAgain && error instanceof FileError && error.problem === 'missing'
        if (!isDone) throw error
        await session.stat(to)
      }
    })
  }

  remove(path: string): Promise<void> {
    return this.#ask(async (session, isAgain) => {
      try {
        await session.remove(path)
      } catch (error) {
        if (!isAgain || !(error instanceof FileError) || error.problem !== 'missing') throw error
      }
    })
  }

  async #write(
    session: SftpSession,
    handle: Handle,
    offset: number,
    bytes: Buffer,
    path: string,
  ): Promise<void> {
    const { transferBytes } = session
    const parts: Promise<void>[] = []
    for (let at = 0; at < bytes.length; at += transferBytes)
      parts.push(session.write(handle, offset + at, bytes.subarray(at, at + transferBytes), path))
    const results = await Promise.allSettled(parts)
    const failure = results.find((result) => result.status === 'rejected')
    if (failure !== undefined) throw await this.#explained(session, path, failure.reason, bytes.length)
  }

  /** A server tells of a disk that is full or read-only as of any failure. */
  async #explained(session: SftpSession, path: string, error: unknown, byteCount = 1): Promise<unknown> {
    if (!(error instanceof FileError) || error.problem !== 'other') return error
    const found = await session.fileSystem(this.folderOf(path)).catch(() => undefined)
    const tried = `${this.told(path)} cannot be written`
    if (found?.isReadOnly) {
      const detail = 'the disk is read-only'
      return new FileError(tried, 'other', { hop: 'target', cause: error, detail })
    }
    if (found === undefined || found.freeBytes >= byteCount) return error
    return new FileError(tried, 'full', { hop: 'target', cause: error })
  }

  #ask<T>(request: (session: SftpSession, isAgain: boolean) => Promise<T>): Promise<T> {
    return this.#lanes.run(NOTHING, request)
  }

  async #unlessMissing(
    look: (session: SftpSession) => Promise<FileAttributes>,
  ): Promise<FileInfo | undefined> {
    try {
      return infoOf(await this.#ask(look))
    } catch (error) {
      if (error instanceof FileError && error.problem === 'missing') return undefined
      throw error
    }
  }
}
