import { createHash, timingSafeEqual } from 'node:crypto'

/** Which signature algorithms a key of each type can use, in the order of preference. */
const ALGORITHMS_OF_TYPE: ReadonlyMap<string, readonly string[]> = new Map([
  ['ssh-ed25519', ['ssh-ed25519']],
  ['ecdsa-sha2-nistp256', ['ecdsa-sha2-nistp256']],
  ['ecdsa-sha2-nistp384', ['ecdsa-sha2-nistp384']],
  ['ecdsa-sha2-nistp521', ['ecdsa-sha2-nistp521']],
  ['ssh-rsa', ['rsa-sha2-512', 'rsa-sha2-256']],
])

/** A pinned host key as the state keeps it: `ssh-ed25519 AAAA…`, with or without a comment. */
export interface Pin {
  type: string
  blob: Buffer
}

/** Lines that are no key are left out: they can match nothing. */
export function parsePins(lines: readonly string[]): Pin[] {
  return lines.flatMap((line) => {
    const [type, base64] = line.trim().split(/\s+/)
    if (type === undefined || base64 === undefined || !ALGORITHMS_OF_TYPE.has(type)) return []
    const blob = Buffer.from(base64, 'base64')
    return blob.length === 0 ? [] : [{ type, blob }]
  })
}

/**
 * What to ask the server to prove itself with: a key that is pinned where it has one, and otherwise any, so that
 * a changed key is told as that and not as a failed negotiation.
 */
export function hostKeyAlgorithms(pins: readonly Pin[]): string[] {
  const types = new Set([...pins.map((pin) => pin.type), ...ALGORITHMS_OF_TYPE.keys()])
  return [...types].flatMap((type) => ALGORITHMS_OF_TYPE.get(type) ?? [])
}

/** Compares with every pin in full, whatever matches before. */
export function isPinned(pins: readonly Pin[], key: Buffer): boolean {
  let found = false
  for (const pin of pins) {
    if (pin.blob.length === key.length && timingSafeEqual(pin.blob, key)) found = true
  }
  return found
}

/** As `ssh-keygen -l` writes it. */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`
}
