import { TunnelError } from '../../protocol/codec/errors.ts'
import type { StreamDuplex } from '../../protocol/node/duplex.ts'
import { type Answer, SftpChannel } from './channel.ts'
import { FileError } from './errors.ts'
import { type FileSystem, fileSystemIn } from './file-system.ts'
import { attributes, broken, type FileAttributes, PACKET, uint32, uint64 } from './packets.ts'

/** What every server takes in one READ or WRITE, in bytes (section 3 of the draft). */
const COMMON_TRANSFER_BYTES = 32_768
/** More in one packet gains nothing, in bytes. */
const MAX_TRANSFER_BYTES = 131_072
/** How many entries a folder may have: each is kept until the whole list is there. */
const MAX_ENTRIES = 1_000_000

/** How a file is opened (section 6.3). */
export const OPEN = { READ: 1, WRITE: 2, CREATE: 8, EXCLUSIVE: 32 } as const

export interface ListedFile {
  name: Buffer
  attributes: FileAttributes
}

/** A handle of an open file or folder; good on the session that gave it. */
export type Handle = Buffer

/**
 * One SFTP session over a stream of kind `sftp`: any number of requests at once, answered in any order. A request fails
 * with a FileError, or with what ended the session, in which case `lost` says so too.
 */
export class SftpSession {
  readonly #channel: SftpChannel
  #transferBytes = COMMON_TRANSFER_BYTES

  private constructor(channel: SftpChannel) {
    this.#channel = channel
  }

  /** Begins a session; `stream` is its own from here on. @throws {TunnelError} */
  static async begin(stream: StreamDuplex, machine: string): Promise<SftpSession> {
    const session = new SftpSession(await SftpChannel.begin(stream, machine))
    // Until it has answered, what every server takes is enough.
    void session.#askLimits().catch(() => {})
    return session
  }

  /** What ended the session, once it has ended. */
  get lost(): TunnelError | undefined {
    return this.#channel.lost
  }

  /** The most that one `read` or `write` may carry, in bytes. */
  get transferBytes(): number {
    return this.#transferBytes
  }

  close(): void {
    this.#channel.end(new TunnelError('ABORTED', 'the session was closed', { hop: 'client' }))
  }

  /** An absolute path without `.`, `..` and, with OpenSSH, links. `~user` works where the server can expand it. */
  async realPath(path: string): Promise<string> {
    if (path.startsWith('~') && this.#channel.hasExtension('expand-path@openssh.com'))
      return this.#name(await this.#channel.extended('expand-path@openssh.com', [path]), path)
    return this.#name(await this.#channel.ask(PACKET.REALPATH, [path]), path)
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
    await this.#channel.done(
      PACKET.SETSTAT,
      [path, attributes(set)],
      `${this.#channel.told(path)} cannot be changed`,
    )
  }

  async fsetstat(handle: Handle, set: FileAttributes, path: string): Promise<void> {
    await this.#channel.done(
      PACKET.FSETSTAT,
      [handle, attributes(set)],
      `${this.#channel.told(path)} cannot be changed`,
    )
  }

  /** @param how of OPEN; @param set of a file that is made */
  async open(path: string, how: number, set: FileAttributes = {}): Promise<Handle> {
    const tried = `${this.#channel.told(path)} cannot be ${how === OPEN.READ ? 'read' : 'written'}`
    const answer = await this.#channel.ask(PACKET.OPEN, [path, uint32(how), attributes(set)])
    return Buffer.from(this.#channel.expect(answer, PACKET.HANDLE, tried).bytes())
  }

  /** Of no consequence where it fails: what was written has been confirmed. */
  async closeHandle(handle: Handle): Promise<void> {
    await this.#channel.ask(PACKET.CLOSE, [handle])
  }

  /** What there is at `offset`, at most `transferBytes`; empty at the end of the file. */
  async read(handle: Handle, offset: number, byteCount: number, path: string): Promise<Buffer> {
    const answer = await this.#channel.ask(PACKET.READ, [handle, uint64(offset), uint32(byteCount)])
    const fields = this.#channel.expectMore(answer, PACKET.DATA, `${this.#channel.told(path)} cannot be read`)
    if (fields === undefined) return Buffer.alloc(0)
    const data = fields.bytes()
    if (data.length === 0 || data.length > byteCount)
      throw this.#channel.end(broken('answers with another length'))
    return data
  }

  /** @param bytes at most `transferBytes`; not to be changed before the promise resolves */
  async write(handle: Handle, offset: number, bytes: Buffer, path: string): Promise<void> {
    await this.#channel.done(
      PACKET.WRITE,
      [handle, uint64(offset), bytes],
      `${this.#channel.told(path)} cannot be written`,
    )
  }

  /** Everything in a folder but `.` and `..`. */
  async list(path: string): Promise<ListedFile[]> {
    const tried = `${this.#channel.told(path)} cannot be read`
    const handle = this.#channel
      .expect(await this.#channel.ask(PACKET.OPENDIR, [path]), PACKET.HANDLE, tried)
      .bytes()
    const found: ListedFile[] = []
    try {
      for (;;) {
        const fields = this.#channel.expectMore(
          await this.#channel.ask(PACKET.READDIR, [handle]),
          PACKET.NAME,
          tried,
        )
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
      if (error instanceof TunnelError && error.code === 'FRAME_INVALID') this.#channel.end(error)
      throw error
    } finally {
      if (this.#channel.lost === undefined) await this.closeHandle(handle)
    }
  }

  async makeFolder(path: string, mode: number): Promise<void> {
    await this.#channel.done(
      PACKET.MKDIR,
      [path, attributes({ mode })],
      `${this.#channel.told(path)} cannot be made`,
    )
  }

  async remove(path: string): Promise<void> {
    await this.#channel.done(PACKET.REMOVE, [path], `${this.#channel.told(path)} cannot be removed`)
  }

  /** Puts a file in the place of another; without the extension for that there is a moment with neither. */
  async replace(from: string, to: string): Promise<void> {
    const tried = `${this.#channel.told(to)} cannot be written`
    if (this.#channel.hasExtension('posix-rename@openssh.com'))
      return this.#channel.isDone(await this.#channel.extended('posix-rename@openssh.com', [from, to]), tried)
    await this.remove(to).catch((error: unknown) => {
      if (!(error instanceof FileError) || error.problem !== 'missing') throw error
    })
    await this.#channel.done(PACKET.RENAME, [from, to], tried)
  }

  async readLink(path: string): Promise<string> {
    return this.#name(await this.#channel.ask(PACKET.READLINK, [path]), path)
  }

  /** OpenSSH takes the two in another order than the draft says, and with it everybody. */
  async makeLink(path: string, to: string): Promise<void> {
    await this.#channel.done(PACKET.SYMLINK, [to, path], `${this.#channel.told(path)} cannot be made`)
  }

  /** The file system that `path` is on, as a user may write to it; undefined where the server cannot say. */
  async fileSystem(path: string): Promise<FileSystem | undefined> {
    if (!this.#channel.hasExtension('statvfs@openssh.com')) return undefined
    const { type, fields } = await this.#channel.extended('statvfs@openssh.com', [path])
    return type === PACKET.EXTENDED_REPLY ? fileSystemIn(fields) : undefined
  }

  async #askLimits(): Promise<void> {
    if (!this.#channel.hasExtension('limits@openssh.com')) return
    const { type, fields } = await this.#channel.extended('limits@openssh.com', [])
    if (type !== PACKET.EXTENDED_REPLY) return
    fields.uint64()
    const readBytes = fields.uint64()
    const writeBytes = fields.uint64()
    const limit = Math.min(readBytes, writeBytes, MAX_TRANSFER_BYTES)
    this.#transferBytes = Math.max(limit, COMMON_TRANSFER_BYTES)
  }

  async #attributes(type: number, of: string | Handle, path = String(of)): Promise<FileAttributes> {
    const answer = await this.#channel.ask(type, [of])
    return this.#channel
      .expect(answer, PACKET.ATTRS, `${this.#channel.told(path)} cannot be looked at`)
      .attributes()
  }

  #name(answer: Answer, path: string): string {
    const fields = this.#channel.expect(
      answer,
      PACKET.NAME,
      `${this.#channel.told(path)} cannot be looked at`,
    )
    if (fields.uint32() < 1) throw this.#channel.end(broken('answers without a name'))
    return fields.bytes().toString()
  }
}

const TOO_MANY = `it has more than ${MAX_ENTRIES} entries`

function isDots(name: Buffer): boolean {
  return name.equals(Buffer.from('.')) || name.equals(Buffer.from('..'))
}
