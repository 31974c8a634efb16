import { timingSafeEqual } from 'node:crypto'
import { HOST_KEY_ALGORITHMS } from '../../protocol/node/host-keys.ts'

/** A pinned host key as the state keeps it: `ssh-ed25519 AAAA…`, with or without a comment. */
export interface Pin {
  type: string
  blob: Buffer
}

/** Lines that are not a key are left out: they could never match. */
export function parsePins(lines: readonly string[]): Pin[] {
  return lines.flatMap((line) => {
    const [type, base64] = line.trim().split(/\s+/)
    if (type === undefined || base64 === undefined || !HOST_KEY_ALGORITHMS.has(type)) return []
    const blob = Buffer.from(base64, 'base64')
    return blob.length === 0 ? [] : [{ type, blob }]
  })
}

/**
 * What to ask the server to prove itself with: a key that is pinned where it has one, and otherwise any, so that
 * a changed key is reported as such and not as a failed negotiation.
 */
export function hostKeyAlgorithms(pins: readonly Pin[]): string[] {
  const types = new Set([...pins.map((pin) => pin.type), ...HOST_KEY_ALGORITHMS.keys()])
  return [...types].flatMap((type) => HOST_KEY_ALGORITHMS.get(type) ?? [])
}

/** Compares with every pin in full, whatever matches before. */
export function isPinned(pins: readonly Pin[], key: Buffer): boolean {
  let found = false
  for (const pin of pins) {
    if (pin.blob.length === key.length && timingSafeEqual(pin.blob, key)) found = true
  }
  return found
}
