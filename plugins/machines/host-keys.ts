import { createHash } from 'node:crypto'

export interface HostKey {
  type: string
  /** `SHA256:…`, as `ssh-keygen -l` shows it. */
  fingerprint: string
}

/** `type base64` without a comment, or undefined for what is no public key. */
export function normalised(line: string): string | undefined {
  const match = /^(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) ([A-Za-z0-9+/]+={0,2})(?:\s|$)/.exec(
    line.trim(),
  )
  return match === null ? undefined : `${match[1]} ${match[2]}`
}

/** A blob begins with its type as a length-prefixed string (RFC 4253, section 6.6). */
export function lineOf(blob: Buffer): string | undefined {
  const type = blob.length < 4 ? '' : blob.subarray(4, 4 + blob.readUInt32BE(0)).toString('latin1')
  return normalised(`${type} ${blob.toString('base64')}`)
}

/** Every stream looks its machine up; a fingerprint is made once. */
const described = new Map<string, HostKey>()
const MAX_DESCRIBED = 10_000

export function describe(key: string): HostKey {
  const known = described.get(key)
  if (known !== undefined) return known
  if (described.size >= MAX_DESCRIBED) described.clear()
  const made = describeKey(key)
  described.set(key, made)
  return made
}

function describeKey(key: string): HostKey {
  const [type = '', blob = ''] = key.split(' ')
  const digest = createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64')
  return { type, fingerprint: `SHA256:${digest.replace(/=+$/, '')}` }
}

/** Whether a machine that has `pinned` keys and now tells `reported` ones is another than it was. */
export function hasChanged(pinned: readonly string[], reported: readonly string[]): boolean {
  if (pinned.length === 0 || reported.length === 0) return false
  const before = new Map(pinned.map((key) => [key.split(' ')[0], key]))
  const now = reported.filter((key) => before.has(key.split(' ')[0]))
  // Another key of a type that is pinned, or no key at all that was known.
  return now.length === 0 || now.some((key) => before.get(key.split(' ')[0]) !== key)
}
