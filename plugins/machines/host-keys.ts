import { fingerprint, HOST_KEY_ALGORITHMS, keyTypeOf } from '../../protocol/node/host-keys.ts'

export interface HostKey {
  type: string
  /** `SHA256:…`, as `ssh-keygen -l` shows it. */
  fingerprint: string
}

/** `type base64` without a comment, or undefined for what is not a public key. */
function normalised(line: string): string | undefined {
  const [type, base64 = ''] = line.trim().split(/\s+/, 2)
  const key = lineOf(Buffer.from(base64, 'base64'))
  return key?.split(' ')[0] === type ? key : undefined
}

/** `type base64`, or undefined for a key of a type that is not used. */
export function lineOf(blob: Buffer): string | undefined {
  const type = keyTypeOf(blob)
  return HOST_KEY_ALGORITHMS.has(type) ? `${type} ${blob.toString('base64')}` : undefined
}

/** The host keys that an agent reports, one of each type: an SSH server has no more. */
export function hostKeysOf(lines: readonly string[]): string[] {
  const keys = new Map<string, string>()
  for (const line of lines) {
    const key = normalised(line)
    const type = key?.split(' ')[0]
    if (key !== undefined && type !== undefined && !keys.has(type)) keys.set(type, key)
  }
  return [...keys.values()]
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
  return { type, fingerprint: fingerprint(Buffer.from(blob, 'base64')) }
}

/** Whether a machine that has `pinned` keys and now reports `reported` ones is another than it was. */
export function hasChanged(pinned: readonly string[], reported: readonly string[]): boolean {
  if (pinned.length === 0 || reported.length === 0) return false
  const before = new Map(pinned.map((key) => [key.split(' ')[0], key]))
  const now = reported.filter((key) => before.has(key.split(' ')[0]))
  // Another key of a type that is pinned, or no key at all that was known.
  return now.length === 0 || now.some((key) => before.get(key.split(' ')[0]) !== key)
}
