import { TunnelError } from '../../protocol/codec/errors.ts'

// SFTP version 3 (draft-ietf-secsh-filexfer-02), which every SSH server has. Of the libraries that speak it none does so
// over a stream that it did not open itself: ssh2 keeps its codec to its own connections.

export const PACKET = {
  INIT: 1,
  VERSION: 2,
  OPEN: 3,
  CLOSE: 4,
  READ: 5,
  WRITE: 6,
  LSTAT: 7,
  FSTAT: 8,
  SETSTAT: 9,
  FSETSTAT: 10,
  OPENDIR: 11,
  READDIR: 12,
  REMOVE: 13,
  MKDIR: 14,
  REALPATH: 16,
  STAT: 17,
  RENAME: 18,
  READLINK: 19,
  SYMLINK: 20,
  STATUS: 101,
  HANDLE: 102,
  DATA: 103,
  NAME: 104,
  ATTRS: 105,
  EXTENDED: 200,
  EXTENDED_REPLY: 201,
} as const

/** The longest packet of a server that is read, in bytes: OpenSSH's own limit, 256 KiB, and room for a head. */
const MAX_PACKET_BYTES = 270_336

/** What a server says of a file; what it leaves out is undefined. */
export interface FileAttributes {
  size?: number
  uid?: number
  gid?: number
  /** Type and permissions, as stat(2) has them. */
  mode?: number
  /** Seconds since 1970. */
  accessed?: number
  modified?: number
}

export function broken(what: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `the SFTP server ${what}`, { hop: 'target' })
}

/** Puts packets together from bytes as they come. */
export class PacketReader {
  readonly #onPacket: (packet: Fields) => void
  #chunks: Buffer[] = []
  #heldBytes = 0

  /** @param onPacket what follows a packet's length; it is the receiver's own */
  constructor(onPacket: (packet: Fields) => void) {
    this.#onPacket = onPacket
  }

  /** @throws {TunnelError} FRAME_INVALID for a packet that is too long or empty */
  take(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#heldBytes += chunk.length
    while (this.#heldBytes >= 4) {
      const length = this.#peek(4).readUInt32BE(0)
      if (length === 0 || length > MAX_PACKET_BYTES) throw broken(`sends ${told(length)}`)
      if (this.#heldBytes < 4 + length) return
      this.#onPacket(new Fields(this.#shift(4 + length).subarray(4)))
    }
  }

  #peek(byteCount: number): Buffer {
    const [first] = this.#chunks as [Buffer]
    if (first.length >= byteCount) return first
    this.#chunks = [Buffer.concat(this.#chunks)]
    return this.#chunks[0] as Buffer
  }

  #shift(byteCount: number): Buffer {
    this.#heldBytes -= byteCount
    const taken: Buffer[] = []
    for (let left = byteCount; left > 0; ) {
      const first = this.#chunks[0] as Buffer
      if (first.length <= left) this.#chunks.shift()
      else this.#chunks[0] = first.subarray(left)
      taken.push(first.subarray(0, left))
      left -= Math.min(left, first.length)
    }
    return taken.length === 1 ? (taken[0] as Buffer) : Buffer.concat(taken)
  }
}

/** Text in place of a packet comes from a start-up file of the user's shell. */
function told(length: number): string {
  const bytes = uint32(length).raw.toString('latin1')
  return /^[\x20-\x7e\n\r\t]+$/.test(bytes)
    ? `text (${JSON.stringify(bytes)}…): a start-up file of the shell there must print nothing without a terminal`
    : `a packet of ${length} bytes`
}

const ATTRIBUTE = { SIZE: 1, OWNER: 2, PERMISSIONS: 4, TIMES: 8, EXTENDED: 0x80_00_00_00 } as const

/** Reads the fields of a packet, in order. Each throws FRAME_INVALID where the packet is too short. */
export class Fields {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  #skip(byteCount: number): number {
    const at = this.#at
    if (byteCount > this.#bytes.length - at) throw broken('sends a packet that is too short')
    this.#at += byteCount
    return at
  }

  byte(): number {
    return this.#bytes.readUInt8(this.#skip(1))
  }

  uint32(): number {
    return this.#bytes.readUInt32BE(this.#skip(4))
  }

  uint64(): number {
    const value = Number(this.#bytes.readBigUInt64BE(this.#skip(8)))
    if (!Number.isSafeInteger(value)) throw broken(`tells of a number that is too large: ${value}`)
    return value
  }

  bytes(): Buffer {
    const length = this.uint32()
    const at = this.#skip(length)
    return this.#bytes.subarray(at, at + length)
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  attributes(): FileAttributes {
    const flags = this.uint32()
    const found: FileAttributes = {}
    if (flags & ATTRIBUTE.SIZE) found.size = this.uint64()
    if (flags & ATTRIBUTE.OWNER) {
      found.uid = this.uint32()
      found.gid = this.uint32()
    }
    if (flags & ATTRIBUTE.PERMISSIONS) found.mode = this.uint32()
    if (flags & ATTRIBUTE.TIMES) {
      found.accessed = this.uint32()
      found.modified = this.uint32()
    }
    if ((flags & ATTRIBUTE.EXTENDED) !== 0) {
      for (let left = this.uint32(); left > 0; left--) {
        this.bytes()
        this.bytes()
      }
    }
    return found
  }
}

/** A field of a packet: a string (text is UTF-8), or bytes that go as they are. */
export type Field = string | Buffer | { raw: Buffer }

export function uint32(value: number): { raw: Buffer } {
  const raw = Buffer.allocUnsafe(4)
  raw.writeUInt32BE(value)
  return { raw }
}

export function uint64(value: number): { raw: Buffer } {
  const raw = Buffer.allocUnsafe(8)
  raw.writeBigUInt64BE(BigInt(value))
  return { raw }
}

export function attributes({ size, mode, accessed, modified }: FileAttributes): { raw: Buffer } {
  const parts: Buffer[] = []
  let flags = 0
  if (size !== undefined) {
    flags |= ATTRIBUTE.SIZE
    parts.push(uint64(size).raw)
  }
  if (mode !== undefined) {
    flags |= ATTRIBUTE.PERMISSIONS
    parts.push(uint32(mode).raw)
  }
  if (accessed !== undefined && modified !== undefined) {
    flags |= ATTRIBUTE.TIMES
    parts.push(uint32(accessed).raw, uint32(modified).raw)
  }
  return { raw: Buffer.concat([uint32(flags).raw, ...parts]) }
}

/** A packet as the buffers that it is made of: a large payload is not copied. */
export function packet(type: number, fields: readonly Field[]): Buffer[] {
  const parts: Buffer[] = []
  let length = 1
  for (const field of fields) {
    if (typeof field === 'object' && 'raw' in field) parts.push(field.raw)
    else {
      const bytes = typeof field === 'string' ? Buffer.from(field) : field
      parts.push(uint32(bytes.length).raw, bytes)
      length += 4 + bytes.length
      continue
    }
    length += field.raw.length
  }
  const head = Buffer.allocUnsafe(5)
  head.writeUInt32BE(length)
  head.writeUInt8(type, 4)
  // What is short leaves as one.
  const payload = parts.at(-1)
  if (payload === undefined || payload.length < SHORT_BYTES) return [Buffer.concat([head, ...parts])]
  return [Buffer.concat([head, ...parts.slice(0, -1)]), payload]
}

/** Below this a copy costs less than a frame of its own, in bytes. */
const SHORT_BYTES = 4_096
