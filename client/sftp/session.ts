import { TunnelError } from '../../protocol/codec/errors.ts'
import type { StreamDuplex } from '../../protocol/node/duplex.ts'
import { FileError, problemOf, STATUS } from './errors.ts'
import {
  attributes,
  broken,
  type Fields,
  type FileAttributes,
  PACKET,
  PacketReader,
  packet,
  uint32,
  uint64,
} from './packets.ts'

const VERSION = 3
/** How long a server may take to say its version, in ms. */
const VERSION_MS = 30_000
/** What every server takes in one READ or WRITE, in bytes (section 3 of the draft). */
const COMMON_TRANSFER_BYTES = 32_768
/** More in one packet gains nothing, in bytes. */
const MAX_TRANSFER_BYTES = 131_072
/** How many entries a folder may have: each is kept until the whole list is there. */
const MAX_ENTRIES = 1_000_000

/** How a file is opened (section 6.3). */
export const OPEN = { READ: 1, WRITE: 2, CREATE: 8 } as const

export interface ListedFile {
  name: Buffer
  attributes: FileAttributes
}

interface Waiting {
  resolve(packet: Answer): void
  reject(error: TunnelError): void
}

interface Answer {
  type: number
  fields: Fields
}

/** A handle of an open file or folder; good on the session that gave it. */
export type Handle = Buffer

/**
 * One SFTP session over a stream of kind `sftp`: any number of requests at once, answered in any order. A request fails
 * with a FileError, or with what ended the session, in which case `lost` says so too.
 */
export class SftpSession {
  readonly #stream: StreamDuplex
  readonly #machine: string
  readonly #waiting = new Map<number, Waiting>()
  readonly #extensions = new Set<string>()
  #nextId = 1
  #lost: TunnelError | undefined
  #transferBytes = COMMON_TRANSFER_BYTES

  private constructor(stream: StreamDuplex, machine: string, onVersion: () => void) {
    this.#stream = stream
    this.#machine = machine
    const reader = new PacketReader((fields) => {
      const type = fields.byte()
      if (type === PACKET.VERSION) return this.#version(fields, onVersion)
      const waiting = this.#take(fields.uint32())
      waiting.resolve({ type, fields })
    })
    stream.on('data', (chunk: Buffer) => {
      if (this.#lost !== undefined) return
      try {
        reader.take(chunk)
      } catch (error) {
        this.#end(error as TunnelError)
      }
    })
    stream.once('error', (error: TunnelError) => this.#end(error))
    const ended = () => this.#end(sessionEnded(machine))
    stream.once('end', ended)
    stream.once('close', ended)
  }

  /** Begins a session; `stream` is its own from here on. @throws {TunnelError} */
  static async begin(stream: StreamDuplex, machine: string): Promise<SftpSession> {
    let resolve: () => void = () => {}
    const version = new Promise<void>((done) => {
      resolve = done
    })
    const session = new SftpSession(stream, machine, resolve)
    stream.write(packet(PACKET.INIT, [uint32(VERSION)])[0])
    const over = new Promise<never>((_, reject) => session.#waiting.set(0, { resolve: () => {}, reject }))
    const silent = setTimeout(() => session.#end(sessionSilent(machine)), VERSION_MS).unref()
    try {
      await Promise.race([version, over])
    } finally {
      clearTimeout(silent)
      session.#waiting.delete(0)
    }
    await session.#askLimits()
    return session
  }

  /** What ended the session, once it has ended. */
  get lost(): TunnelError | undefined {
    return this.#lost
  }

  /** The most that one `read` or `write` may carry, in bytes. */
  get transferBytes(): number {
    return this.#transferBytes
  }

  close(): void {
    this.#end(new TunnelError('ABORTED', 'the session was closed', { hop: 'client' }))
  }

  /** An absolute path without `.`, `..` and, with OpenSSH, links. `~user` works where the server can expand it. */
  async realPath(path: string): Promise<string> {
    if (path.startsWith('~') && this.#extensions.has('expand-path@openssh.com'))
      return this.#name(await this.#extended('expand-path@openssh.com', [path]), path)
    return this.#name(await this.#ask(PACKET.REALPATH, [path]), path)
  }

  stat(path: string): Promise<FileAttributes> {
    return this.#attributes(PACKET.STAT, path)
  }

  /** Of a link itself. */
  lstat(path: string): Promise<FileAttributes> {
    return this.#attributes(PACKET.LSTAT, path)
  }

  fstat(handle: Handle, path: string): Promise<FileAttributes> {
    return this.#attributes(PACKET.FSTAT, handle, path)
  }

  async setstat(path: string, set: FileAttributes): Promise<void> {
    await this.#done(PACKET.SETSTAT, [path, attributes(set)], `${this.#told(path)} cannot be changed`)
  }

  async fsetstat(handle: Handle, set: FileAttributes, path: string): Promise<void> {
    await this.#done(PACKET.FSETSTAT, [handle, attributes(set)], `${this.#told(path)} cannot be changed`)
  }

  /** @param how of OPEN; @param set of a file that is made */
  async open(path: string, how: number, set: FileAttributes = {}): Promise<Handle> {
    const tried = `${this.#told(path)} cannot be ${how === OPEN.READ ? 'read' : 'written'}`
    const answer = await this.#ask(PACKET.OPEN, [path, uint32(how), attributes(set)])
    return Buffer.from(this.#expect(answer, PACKET.HANDLE, tried).bytes())
  }

  /** Of no consequence where it fails: what was written has been confirmed. */
  async closeHandle(handle: Handle): Promise<void> {
    await this.#ask(PACKET.CLOSE, [handle])
  }

  /** What there is at `offset`, at most `transferBytes`; empty at the end of the file. */
  async read(handle: Handle, offset: number, byteCount: number, path: string): Promise<Buffer> {
    const answer = await this.#ask(PACKET.READ, [handle, uint64(offset), uint32(byteCount)])
    const fields = this.#expectMore(answer, PACKET.DATA, `${this.#told(path)} cannot be read`)
    if (fields === undefined) return Buffer.alloc(0)
    const data = fields.bytes()
    if (data.length === 0 || data.length > byteCount) throw this.#end(broken('answers with another length'))
    return data
  }

  /** @param bytes at most `transferBytes`; not to be changed before the promise resolves */
  async write(handle: Handle, offset: number, bytes: Buffer, path: string): Promise<void> {
    await this.#done(PACKET.WRITE, [handle, uint64(offset), bytes], `${this.#told(path)} cannot be written`)
  }

  /** Everything in a folder but `.` and `..`. */
  async list(path: string): Promise<ListedFile[]> {
    const tried = `${this.#told(path)} cannot be read`
    const handle = this.#expect(await this.#ask(PACKET.OPENDIR, [path]), PACKET.HANDLE, tried).bytes()
    const found: ListedFile[] = []
    try {
      for (;;) {
        const fields = this.#expectMore(await this.#ask(PACKET.READDIR, [handle]), PACKET.NAME, tried)
        if (fields === undefined) return found
        for (let left = fields.uint32(); left > 0; left--) {
          const name = Buffer.from(fields.bytes())
          // The line of `ls -l` that nobody reads.
          fields.bytes()
          const entry = { name, attributes: fields.attributes() }
          if (!isDots(name)) found.push(entry)
        }
        if (found.length > MAX_ENTRIES)
          throw new FileError(tried, 'other', { hop: 'target', detail: TOO_MANY })
      }
    } catch (error) {
      // A server's nonsense in a packet whose length was right.
      if (error instanceof TunnelError && error.code === 'FRAME_INVALID') this.#end(error)
      throw error
    } finally {
      if (this.#lost === undefined) await this.closeHandle(handle)
    }
  }

  async makeFolder(path: string, mode: number): Promise<void> {
    await this.#done(PACKET.MKDIR, [path, attributes({ mode })], `${this.#told(path)} cannot be made`)
  }

  async remove(path: string): Promise<void> {
    await this.#done(PACKET.REMOVE, [path], `${this.#told(path)} cannot be removed`)
  }

  /** Puts a file in the place of another; without the extension for that there is a moment with neither. */
  async replace(from: string, to: string): Promise<void> {
    const tried = `${this.#told(to)} cannot be written`
    if (this.#extensions.has('posix-rename@openssh.com'))
      return this.#isDone(await this.#extended('posix-rename@openssh.com', [from, to]), tried)
    await this.remove(to).catch((error: unknown) => {
      if (!(error instanceof FileError) || error.problem !== 'missing') throw error
    })
    await this.#done(PACKET.RENAME, [from, to], tried)
  }

  async readLink(path: string): Promise<string> {
    return this.#name(await this.#ask(PACKET.READLINK, [path]), path)
  }

  /** OpenSSH takes the two in another order than the draft says, and with it everybody. */
  async makeLink(path: string, to: string): Promise<void> {
    await this.#done(PACKET.SYMLINK, [to, path], `${this.#told(path)} cannot be made`)
  }

  /** Bytes that a user may still write where `path` is; undefined where the server cannot say. */
  async freeBytes(path: string): Promise<number | undefined> {
    if (!this.#extensions.has('statvfs@openssh.com')) return undefined
    const { type, fields } = await this.#extended('statvfs@openssh.com', [path])
    if (type !== PACKET.EXTENDED_REPLY) return undefined
    fields.uint64()
    const blockBytes = fields.uint64()
    fields.uint64()
    fields.uint64()
    return blockBytes * fields.uint64()
  }

  async #askLimits(): Promise<void> {
    if (!this.#extensions.has('limits@openssh.com')) return
    const { type, fields } = await this.#extended('limits@openssh.com', [])
    if (type !== PACKET.EXTENDED_REPLY) return
    fields.uint64()
    const readBytes = fields.uint64()
    const writeBytes = fields.uint64()
    const limit = Math.min(readBytes, writeBytes, MAX_TRANSFER_BYTES)
    this.#transferBytes = Math.max(limit, COMMON_TRANSFER_BYTES)
  }

  #version(fields: Fields, onVersion: () => void): void {
    const version = fields.uint32()
    if (version !== VERSION) throw broken(`speaks version ${version}, not ${VERSION}`)
    while (!fields.isAtEnd) {
      this.#extensions.add(fields.bytes().toString())
      fields.bytes()
    }
    onVersion()
  }

  #take(id: number): Waiting {
    const waiting = id === 0 ? undefined : this.#waiting.get(id)
    if (waiting === undefined) throw broken('answers a request that there was not')
    this.#waiting.delete(id)
    return waiting
  }

  #ask(type: number, fields: Parameters<typeof packet>[1]): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#lost !== undefined) return reject(this.#lost)
      const id = this.#nextId
      this.#nextId = id === 0xff_ff_ff_ff ? 1 : id + 1
      this.#waiting.set(id, { resolve, reject })
      this.#stream.cork()
      for (const part of packet(type, [uint32(id), ...fields])) this.#stream.write(part)
      process.nextTick(() => this.#stream.uncork())
    })
  }

  #extended(name: string, fields: Parameters<typeof packet>[1]): Promise<Answer> {
    return this.#ask(PACKET.EXTENDED, [name, ...fields])
  }

  async #done(type: number, fields: Parameters<typeof packet>[1], tried: string): Promise<void> {
    this.#isDone(await this.#ask(type, fields), tried)
  }

  #isDone({ type, fields }: Answer, tried: string): void {
    if (type !== PACKET.STATUS) throw this.#end(broken('answers with another packet'))
    const status = fields.uint32()
    if (status !== STATUS.OK) throw failed(status, fields, tried)
  }

  #expect(answer: Answer, wanted: number, tried: string): Fields {
    const fields = this.#expectMore(answer, wanted, tried)
    if (fields === undefined)
      throw new FileError(tried, 'other', { hop: 'target', detail: 'it is at its end' })
    return fields
  }

  /** Undefined at the end of what is read. */
  #expectMore({ type, fields }: Answer, wanted: number, tried: string): Fields | undefined {
    if (type === wanted) return fields
    if (type !== PACKET.STATUS) throw this.#end(broken('answers with another packet'))
    const status = fields.uint32()
    if (status === STATUS.EOF) return undefined
    throw failed(status, fields, tried)
  }

  async #attributes(type: number, of: string | Handle, path = String(of)): Promise<FileAttributes> {
    const answer = await this.#ask(type, [of])
    return this.#expect(answer, PACKET.ATTRS, `${this.#told(path)} cannot be looked at`).attributes()
  }

  #name(answer: Answer, path: string): string {
    const fields = this.#expect(answer, PACKET.NAME, `${this.#told(path)} cannot be looked at`)
    if (fields.uint32() < 1) throw this.#end(broken('answers without a name'))
    return fields.bytes().toString()
  }

  #told(path: string): string {
    return `${this.#machine}:${path}`
  }

  /** Once; gives back what has ended the session. */
  #end(error: TunnelError): TunnelError {
    if (this.#lost !== undefined) return this.#lost
    this.#lost = error
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(error)
    this.#stream.destroy()
    return error
  }
}

const TOO_MANY = `it has more than ${MAX_ENTRIES} entries`

function isDots(name: Buffer): boolean {
  return name.equals(Buffer.from('.')) || name.equals(Buffer.from('..'))
}

function failed(status: number, fields: Fields, tried: string): FileError {
  const detail = fields.isAtEnd ? '' : fields.bytes().toString()
  return new FileError(tried, problemOf(status), { hop: 'target', detail: detail.slice(0, MAX_DETAIL) })
}

/** How much of a server's own words is told, in characters. */
const MAX_DETAIL = 200

function sessionSilent(machine: string): TunnelError {
  const text = `the SFTP server on ${machine} said nothing within ${VERSION_MS} ms`
  return new TunnelError('TIMEOUT', text, { hop: 'target' })
}

function sessionEnded(machine: string): TunnelError {
  return new TunnelError('AGENT_LOST', `the SFTP session on ${machine} ended`, { hop: 'ssh' })
}
