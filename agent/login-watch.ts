/** The message after which everything is encrypted (RFC 4253, section 7.3). */
const NEWKEYS = 21
/**
 * What sshd sends behind it before anybody is logged in is less: it names its algorithms and answers up to six attempts
 * (measured: 820 bytes of OpenSSH 9.2 and 10.0); more: its host keys, and what the session says (measured: 1,420 bytes).
 */
const LOGGED_IN_BYTES = 896
/** A length, the padding's length and the message's number (RFC 4253, section 6). */
const HEAD_BYTES = 6
/**
 * SERVICE_ACCEPT of "ssh-userauth", which every login begins with, is 17 bytes of payload: with the padding, the length and
 * the tag of whatever cipher and MAC the two have chosen it is this long.
 */
const ACCEPT_BYTES = { least: 32, most: 100 }
/** By this USERAUTH_SUCCESS, of one byte, is shorter (RFC 4253, section 6: both are padded to full blocks of 8 or 16). */
const SUCCESS_SHORTER_BYTES = 16
const LENGTH_BYTES = 4
/** RFC 4253, section 6.1: what has to be taken; no key exchange needs more. */
const MAX_PACKET_BYTES = 35_000
/** What may come before the version (RFC 4253, section 4.2), in bytes. */
const MAX_GREETING_BYTES = 8_192

/**
 * Reads from what an SSH server sends whether its client has logged in. Most of it is encrypted, so that this is a guess
 * by the number of bytes. sshd answers each message of a login by itself, so that the answer that lets its client in
 * shows by its length, unless it was read together with what follows: then it is all bytes together that show it, later
 * where the server has little to say, and too early where its banner is long.
 */
export class LoginWatch {
  #line = ''
  #greetingBytes = 0
  #head = Buffer.alloc(0)
  #skipBytes = 0
  #stage: 'greeting' | 'clear' | 'encrypted' | 'over' = 'greeting'
  #encryptedBytes = 0
  /** Of the answer with which the login began. */
  #acceptBytes: number | undefined

  /** What has come from the server with one read. True once the client is taken for one that is logged in, or this is not SSH. */
  feed(bytes: Buffer): boolean {
    let rest = bytes
    while (rest.length > 0 && this.#stage !== 'over') {
      if (this.#stage === 'greeting') rest = this.#greeting(rest)
      else if (this.#stage === 'clear') rest = this.#packet(rest)
      else rest = this.#encrypted(rest, rest.length === bytes.length)
    }
    return this.#stage === 'over'
  }

  #greeting(bytes: Buffer): Buffer {
    const end = bytes.indexOf('\n')
    const part = end < 0 ? bytes : bytes.subarray(0, end + 1)
    this.#line += part.toString('latin1', 0, 4)
    this.#greetingBytes += part.length
    if (this.#greetingBytes > MAX_GREETING_BYTES) this.#stage = 'over'
    if (end >= 0) {
      if (this.#line.startsWith('SSH-')) this.#stage = 'clear'
      this.#line = ''
    }
    return bytes.subarray(part.length)
  }

  #packet(bytes: Buffer): Buffer {
    if (this.#skipBytes > 0) {
      const skipped = Math.min(this.#skipBytes, bytes.length)
      this.#skipBytes -= skipped
      return bytes.subarray(skipped)
    }
    const taken = Math.min(HEAD_BYTES - this.#head.length, bytes.length)
    this.#head = Buffer.concat([this.#head, bytes.subarray(0, taken)])
    if (this.#head.length < HEAD_BYTES) return bytes.subarray(taken)
    const packetBytes = LENGTH_BYTES + this.#head.readUInt32BE(0)
    const isLast = this.#head[HEAD_BYTES - 1] === NEWKEYS
    this.#head = Buffer.alloc(0)
    if (packetBytes < HEAD_BYTES || packetBytes > MAX_PACKET_BYTES) this.#stage = 'over'
    this.#skipBytes = packetBytes - HEAD_BYTES
    if (isLast) {
      this.#stage = 'encrypted'
      this.#encryptedBytes = -this.#skipBytes
    }
    return bytes.subarray(taken)
  }

  #encrypted(bytes: Buffer, isRead: boolean): Buffer {
    const isAnswer = isRead && this.#encryptedBytes >= 0
    this.#encryptedBytes += bytes.length
    if (this.#encryptedBytes >= LOGGED_IN_BYTES || (isAnswer && this.#isSuccess(bytes.length)))
      this.#stage = 'over'
    return bytes.subarray(bytes.length)
  }

  #isSuccess(byteCount: number): boolean {
    if (this.#acceptBytes !== undefined) return byteCount === this.#acceptBytes - SUCCESS_SHORTER_BYTES
    if (byteCount >= ACCEPT_BYTES.least && byteCount <= ACCEPT_BYTES.most) this.#acceptBytes = byteCount
    return false
  }
}
