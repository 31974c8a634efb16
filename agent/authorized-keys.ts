import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { TunnelError } from '../protocol/errors.ts'

export interface AuthorizeOptions {
  /** @default ~/.ssh/authorized_keys of the user that runs this process */
  file?: string
  /** Addresses from which sshd accepts the key; empty = any. The agent dials from its own machine. @default loopback */
  from?: string[]
}

/** What the proxy's key may do: channels to addresses and a terminal, no agent, X11 or tunnel device. */
const RESTRICTIONS = 'restrict,port-forwarding,pty'
const LOOPBACK = ['127.0.0.1', '::1']
/** Far beyond any real file; what is larger is no list of keys. */
const MAX_FILE_BYTES = 4_194_304

interface PublicKey {
  type: string
  blob: string
  comment: string
}

/**
 * Lets `publicKey` ('ssh-ed25519 AAAA… comment') in, restricted, once: a key whose blob is already there on any line,
 * with whatever options its owner gave it, changes nothing. Answers whether a line was added.
 * Throws CONFIG_INVALID when the key is no key, or the file is not one that sshd would trust.
 */
export async function authorizeKey(publicKey: string, options: AuthorizeOptions = {}): Promise<boolean> {
  const key = parsePublicKey(publicKey)
  const file = options.file ?? join(homedir(), '.ssh', 'authorized_keys')
  const folder = dirname(file)
  await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
    if (!isCode(error, 'EEXIST')) throw refused(`cannot make ${folder}`, error)
  })
  const owner = await checkFolder(folder)
  const existing = await readExisting(file, owner.uid)
  if (existing !== undefined && holdsKey(existing.text, key)) return false
  const before = existing === undefined || existing.text === '' || existing.text.endsWith('\n') ? '' : '\n'
  const text = `${existing?.text ?? ''}${before}${authorizedLine(key, options.from ?? LOOPBACK)}\n`
  await replaceFile(file, text, existing ?? owner)
  return true
}

/** The line that lets `publicKey` in from this machine alone. Throws CONFIG_INVALID when the key is no key. */
export function authorizedLineOf(publicKey: string): string {
  return authorizedLine(parsePublicKey(publicKey), LOOPBACK)
}

/** The line as it stands in the file. */
export function authorizedLine({ type, blob, comment }: PublicKey, from: string[]): string {
  const limits = from.length === 0 ? RESTRICTIONS : `${RESTRICTIONS},from="${from.join(',')}"`
  return [limits, type, blob, comment].filter((part) => part !== '').join(' ')
}

/** Strict, because the text comes from the proxy and ends in a file that grants access. */
export function parsePublicKey(text: string): PublicKey {
  const match =
    /^(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) ([A-Za-z0-9+/]+={0,2})(?: ([\x20-\x7e]*))?$/.exec(
      text.trim(),
    )
  const [, type = '', blob = '', comment = ''] = match ?? []
  // A key's blob begins with its own type as a length-prefixed string.
  const bytes = Buffer.from(blob, 'base64')
  const named = bytes.length > 4 && bytes.subarray(4, 4 + bytes.readUInt32BE(0)).toString('latin1') === type
  if (match === null || !named)
    throw new TunnelError('CONFIG_INVALID', 'this is no public SSH key', { hop: 'agent' })
  return { type, blob, comment: comment.trim() }
}

function holdsKey(text: string, key: PublicKey): boolean {
  return text.split('\n').some((line) => {
    const words = line.trim().split(/\s+/)
    return (
      !words[0]?.startsWith('#') &&
      words.some((word, index) => word === key.blob && words[index - 1] === key.type)
    )
  })
}

/** A folder that others may write to is one in which sshd trusts no file, and in which a rename can be raced. */
async function checkFolder(folder: string): Promise<{ uid: number; gid: number }> {
  const found = await stat(folder)
  if (!found.isDirectory()) throw refused(`${folder} is no folder`)
  if ((found.mode & 0o022) !== 0) throw refused(`${folder} can be written to by others (chmod 700 it)`)
  const me = process.getuid?.() ?? found.uid
  if (found.uid !== me && me !== 0) throw refused(`${folder} belongs to somebody else`)
  return { uid: found.uid, gid: found.gid }
}

interface Existing {
  text: string
  uid: number
  gid: number
}

async function readExisting(file: string, ownerUid: number): Promise<Existing | undefined> {
  let handle: FileHandle
  try {
    // A link is refused and not followed: what it points to would lose its place to our new file, or its owner.
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    if (isCode(error, 'ELOOP'))
      throw refused(`${file} is a symbolic link: add the key to what it points to yourself`)
    throw refused(`cannot read ${file}`, error)
  }
  try {
    const found = await handle.stat()
    if (!found.isFile()) throw refused(`${file} is no plain file`)
    if (found.size > MAX_FILE_BYTES) throw refused(`${file} is too large for a list of keys`)
    const me = process.getuid?.() ?? found.uid
    const trusted = me === 0 ? [ownerUid, 0] : [me]
    if (!trusted.includes(found.uid)) throw refused(`${file} belongs to somebody else`)
    return { text: await handle.readFile('utf8'), uid: found.uid, gid: found.gid }
  } finally {
    await handle.close()
  }
}

/** All or nothing: a crash half way must lock nobody out of his machine. */
async function replaceFile(file: string, text: string, owner: { uid: number; gid: number }): Promise<void> {
  const fresh = `${file}.${randomBytes(6).toString('hex')}.new`
  try {
    const handle = await open(fresh, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      if (process.getuid?.() === 0) await handle.chown(owner.uid, owner.gid)
      await handle.chmod(0o600)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(fresh, file)
  } catch (error) {
    await rm(fresh, { force: true })
    throw refused(`cannot write ${file}`, error)
  }
}

function refused(message: string, cause?: unknown): TunnelError {
  return new TunnelError('CONFIG_INVALID', message, { hop: 'agent', cause })
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
