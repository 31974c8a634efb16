// SOCKS 5 (RFC 1928) without authentication, and SOCKS 4 with names (4a): what a client says, and what it is answered.

export interface SocksRequest {
  version: 4 | 5
  /** As the client wrote it: a name is resolved by whoever connects. */
  host: string
  port: number
}

export type SocksStep =
  | { kind: 'wait' }
  /** To be sent; the client may have said more already. */
  | { kind: 'reply'; reply: Buffer }
  /** `rest` belongs to the connection itself. */
  | { kind: 'request'; request: SocksRequest; rest: Buffer }
  /** No SOCKS, or nothing that is carried here. */
  | { kind: 'refused'; reply?: Buffer; reason: string }

/** RFC 1928, section 6. */
export const REPLY = {
  succeeded: 0,
  failed: 1,
  forbidden: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  refused: 5,
  expired: 6,
  commandUnknown: 7,
  addressUnknown: 8,
} as const
export type Reply = (typeof REPLY)[keyof typeof REPLY]

const CONNECT = 1
const NO_AUTHENTICATION = 0
const NO_METHOD = 0xff
const ADDRESS = { ipv4: 1, name: 3, ipv6: 4 } as const
/** The longest text of SOCKS 4: a user's name or a host's. */
const MAX_TEXT = 255
/** SOCKS 4 has two answers: granted, or not. */
const GRANTED = 90
const REJECTED = 91

/** The answer to a request, in the client's own version. */
export function socksReply(version: SocksRequest['version'], reply: Reply): Buffer {
  if (version === 4) return Buffer.from([0, reply === REPLY.succeeded ? GRANTED : REJECTED, 0, 0, 0, 0, 0, 0])
  return Buffer.from([5, reply, 0, ADDRESS.ipv4, 0, 0, 0, 0, 0, 0])
}

/** Reads what one client says until its request is complete; no message is longer than 520 bytes. */
export class SocksReader {
  #bytes: Buffer = Buffer.alloc(0)
  #isGreeted = false

  add(bytes: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes])
  }

  /** What follows from the bytes that are here; nothing follows a request or a refusal. */
  next(): SocksStep {
    const [version] = this.#bytes
    if (version === undefined) return WAIT
    if (version === 5) return this.#isGreeted ? this.#request5() : this.#greeting5()
    if (version === 4 && !this.#isGreeted) return this.#request4()
    return { kind: 'refused', reason: stranger(this.#bytes) }
  }

  #greeting5(): SocksStep {
    const end = 2 + (this.#bytes[1] ?? MAX_TEXT)
    if (this.#bytes.length < end) return WAIT
    const methods = this.#bytes.subarray(2, end)
    this.#bytes = this.#bytes.subarray(end)
    this.#isGreeted = true
    if (methods.includes(NO_AUTHENTICATION))
      return { kind: 'reply', reply: Buffer.from([5, NO_AUTHENTICATION]) }
    return { kind: 'refused', reply: Buffer.from([5, NO_METHOD]), reason: 'a client insists on a password' }
  }

  #request5(): SocksStep {
    const bytes = this.#bytes
    const [, command, , type, length = MAX_TEXT] = bytes
    if (type === undefined) return WAIT
    const start = type === ADDRESS.name ? 5 : 4
    const end = start + (type === ADDRESS.ipv4 ? 4 : type === ADDRESS.ipv6 ? 16 : length)
    if (type !== ADDRESS.ipv4 && type !== ADDRESS.ipv6 && type !== ADDRESS.name)
      return refused(5, REPLY.addressUnknown, `a client uses the unknown type of address ${type}`)
    if (bytes.length < end + 2) return WAIT
    if (command !== CONNECT)
      return refused(5, REPLY.commandUnknown, `a client asks for command ${command}: only CONNECT is carried`)
    const address = bytes.subarray(start, end)
    const host =
      type === ADDRESS.name
        ? address.toString('latin1')
        : type === ADDRESS.ipv4
          ? ipv4(address)
          : ipv6(address)
    return this.#complete({ version: 5, host, port: bytes.readUInt16BE(end) }, end + 2)
  }

  #request4(): SocksStep {
    const bytes = this.#bytes
    const user = textAt(bytes, 8)
    if (user === 'long') return refused(4, REPLY.failed, 'a client of SOCKS 4 sends a name that is too long')
    if (user === undefined) return WAIT
    const address = bytes.subarray(4, 8)
    // 0.0.0.x stands for the name that follows.
    const isNamed = address.readUInt32BE() < 256 && address[3] !== 0
    const name = isNamed ? textAt(bytes, user.end) : { text: ipv4(address), end: user.end }
    if (name === 'long') return refused(4, REPLY.failed, 'a client of SOCKS 4 sends a name that is too long')
    if (name === undefined) return WAIT
    if (bytes[1] !== CONNECT)
      return refused(
        4,
        REPLY.commandUnknown,
        `a client asks for command ${bytes[1]}: only CONNECT is carried`,
      )
    return this.#complete({ version: 4, host: name.text, port: bytes.readUInt16BE(2) }, name.end)
  }

  #complete(request: SocksRequest, end: number): SocksStep {
    return { kind: 'request', request, rest: this.#bytes.subarray(end) }
  }
}

const WAIT: SocksStep = { kind: 'wait' }

function refused(version: SocksRequest['version'], reply: Reply, reason: string): SocksStep {
  return { kind: 'refused', reply: socksReply(version, reply), reason }
}

/** The text that ends with a zero byte, and where the next field begins; undefined while it is not complete. */
function textAt(bytes: Buffer, start: number): { text: string; end: number } | 'long' | undefined {
  const end = bytes.indexOf(0, start)
  if (end === -1 || bytes.length < start) return bytes.length - start > MAX_TEXT ? 'long' : undefined
  return end - start > MAX_TEXT ? 'long' : { text: bytes.toString('latin1', start, end), end: end + 1 }
}

function ipv4(bytes: Buffer): string {
  return bytes.join('.')
}

function ipv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16))
  return groups.join(':')
}

function stranger(bytes: Buffer): string {
  const isHttp = /^(CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT) /.test(bytes.toString('latin1', 0, 8))
  return isHttp
    ? 'a client speaks HTTP: enter this address as a SOCKS proxy, socks5h://HOST:PORT, not as an HTTP proxy'
    : 'a client speaks another protocol than SOCKS'
}
