import { constants, type Stats, statSync } from 'node:fs'
import { type FileHandle, mkdir, open, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import { TunnelError } from '../protocol/codec/errors.ts'
import { fileReason } from '../protocol/node/file-reason.ts'
import { ownAccount } from './account.ts'

export interface AuthorizeOptions {
  /** @default ~/.ssh/authorized_keys of the user that runs this process */
  file?: string
  /** Addresses and networks from which sshd accepts the key; empty = any. @default loopback, all of it */
  from?: string[]
  /** What the SSH server says it is. Dropbear knows fewer restrictions, and refuses a line that has others. */
  software?: string | undefined
}

/** What the proxy's key may do: channels to addresses and a terminal, no agent, X11 or tunnel device. */
const RESTRICTIONS = 'restrict,port-forwarding,pty'
/** Dropbear's `restrict` cannot be loosened again, and it has no `from`. */
const DROPBEAR_RESTRICTIONS = 'no-agent-forwarding,no-X11-forwarding'
/** The agent dials from another address for each user (source-address.ts). */
const LOOPBACK = ['127.0.0.0/8', '::1']
/** As earlier versions wrote it: such a line lets nobody in who comes from another address. */
const ONE_ADDRESS = `${RESTRICTIONS},from="127.0.0.1,::1"`
/** Far beyond any real file; a larger file is not a list of keys. */
const MAX_FILE_BYTES = 4_194_304

/** The shortest key of these types (RFC 8709, section 4) is 51 bytes. */
const MIN_KEY_BYTES = 51
const MAX_COMMENT_CHARS = 128

interface PublicKey {
  type: string
  blob: string
  comment: string
}

/**
 * Lets `publicKey` ('ssh-ed25519 AAAA… comment') in, restricted, once: a key whose blob is already there on any line,
 * with whatever options its owner gave it, changes nothing (sshd tries all lines of a key: an own one that names a single
 * address gets another beside it). Answers whether a line was added.
 * Throws CONFIG_INVALID when the key is not valid, or the file is not one that sshd would trust.
 */
export async function authorizeKey(publicKey: string, options: AuthorizeOptions = {}): Promise<boolean> {
  const key = parsePublicKey(publicKey)
  const file = options.file ?? authorizedKeysFile()
  const folder = dirname(file)
  await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
    if (!isCode(error, 'EEXIST')) throw refused(`${folder} cannot be made (${fileReason(error)})`, error)
  })
  const owner = await checkFolder(folder)
  const { software, from = LOOPBACK } = options
  const line = authorizedLine(key, software?.startsWith('dropbear') ? DROPBEAR_RESTRICTIONS : limitsOf(from))
  return await appendOnce(file, owner, (text) => (letsIn(text, key) ? undefined : line))
}

/** Where sshd looks for this account; HOME counts where it is a folder of this account's, as it is not under `sudo`. */
export function authorizedKeysFile(): string {
  const account = ownAccount()
  const home = homedir()
  const isOwn = isAbsolute(home) && statSync(home, { throwIfNoEntry: false })?.uid === account.uid
  return join(isOwn ? home : account.homedir, '.ssh', 'authorized_keys')
}

/** The line that lets `publicKey` in from this machine alone. Throws CONFIG_INVALID when the key is not valid. */
export function authorizedLineOf(publicKey: string): string {
  return authorizedLine(parsePublicKey(publicKey), limitsOf(LOOPBACK))
}

function limitsOf(from: readonly string[]): string {
  return from.length === 0 ? RESTRICTIONS : `${RESTRICTIONS},from="${from.join(',')}"`
}

/** The line as it stands in the file. */
function authorizedLine({ type, blob, comment }: PublicKey, limits: string): string {
  return [limits, type, blob, comment].filter((part) => part !== '').join(' ')
}

/** Strict, because the text comes from the proxy and ends in a file that grants access. */
function parsePublicKey(text: string): PublicKey {
  const match =
    /^(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) ([A-Za-z0-9+/]+={0,2})(?: ([\x20-\x7e]*))?$/.exec(
      text.trim(),
    )
  const [, type = '', blob = '', comment = ''] = match ?? []
  // A key's blob begins with its own type as a length-prefixed string.
  const bytes = Buffer.from(blob, 'base64')
  const named = bytes.length > 4 && bytes.subarray(4, 4 + bytes.readUInt32BE(0)).toString('latin1') === type
  if (match === null || !named || bytes.length < MIN_KEY_BYTES || comment.length > MAX_COMMENT_CHARS)
    throw new TunnelError('CONFIG_INVALID', 'this is not a valid public SSH key', { hop: 'agent' })
  return { type, blob, comment: comment.trim() }
}

const KEY_TYPE = /^(ssh-(ed25519|rsa|dss)|ecdsa-sha2-nistp\d+|sk-\S+@openssh\.com)$/

function letsIn(text: string, key: PublicKey): boolean {
  return text.split('\n').some((line) => {
    if (line.startsWith(`${ONE_ADDRESS} `)) return false
    const words = line.trim().split(/\s+/)
    // What is named in another line's comment lets nobody in: the first type outside of the options counts.
    const at = words.findIndex((word) => KEY_TYPE.test(word))
    return !words[0]?.startsWith('#') && words[at] === key.type && words[at + 1] === key.blob
  })
}

/** A folder that others may write to is one in which sshd trusts no file. */
async function checkFolder(folder: string): Promise<Owner> {
  const found = await stat(folder)
  if (!found.isDirectory()) throw refused(`${folder} is not a folder`)
  if ((found.mode & 0o022) !== 0) throw refused(`${folder} can be written to by others (chmod 700 it)`)
  const me = process.getuid?.() ?? found.uid
  if (found.uid !== me && me !== 0) throw refused(`${folder} belongs to somebody else`)
  return { uid: found.uid, gid: found.gid }
}

interface Owner {
  uid: number
  gid: number
}

/**
 * Adds the line that `lineFor` wants for the present text, or none. One write at the end of the file: whatever else is
 * written meanwhile, and whatever its encoding, every other line stays as it is.
 */
async function appendOnce(
  file: string,
  owner: Owner,
  lineFor: (text: string) => string | undefined,
): Promise<boolean> {
  const handle = await openForAppend(file, owner)
  try {
    const found = await handle.stat()
    checkFile(file, found, owner.uid)
    const text = await handle.readFile('latin1')
    const line = lineFor(text)
    if (line === undefined) return false
    const before = text === '' || text.endsWith('\n') ? '' : '\n'
    await handle.appendFile(`${before}${line}\n`, 'latin1')
    await handle.sync()
    return true
  } catch (error) {
    throw error instanceof TunnelError
      ? error
      : refused(`${file} cannot be written (${fileReason(error)})`, error)
  } finally {
    await handle.close()
  }
}

async function openForAppend(file: string, owner: Owner): Promise<FileHandle> {
  // A link is refused and not followed: it may lead to a file of somebody else's.
  const flags = constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK
  try {
    return await open(file, flags).catch(async (error: unknown) => {
      if (!isCode(error, 'ENOENT')) throw error
      const made = await open(file, flags | constants.O_CREAT, 0o600)
      if (process.getuid?.() === 0) await made.chown(owner.uid, owner.gid)
      return made
    })
  } catch (error) {
    if (isCode(error, 'ELOOP'))
      throw refused(`${file} is a symbolic link: add the key to what it points to yourself`)
    if (isCode(error, 'EISDIR')) throw refused(`${file} is not a plain file`)
    throw refused(`${file} cannot be opened (${fileReason(error)})`, error)
  }
}

function checkFile(file: string, found: Stats, ownerUid: number): void {
  if (!found.isFile()) throw refused(`${file} is not a plain file`)
  if (found.size > MAX_FILE_BYTES) throw refused(`${file} is too large for a list of keys`)
  const me = process.getuid?.() ?? found.uid
  const trusted = me === 0 ? [ownerUid, 0] : [me]
  if (!trusted.includes(found.uid)) throw refused(`${file} belongs to somebody else`)
  if ((found.mode & 0o022) !== 0) throw refused(`${file} can be written to by others (chmod 600 it)`)
}

function refused(message: string, cause?: unknown): TunnelError {
  return new TunnelError('CONFIG_INVALID', message, { hop: 'agent', cause })
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
