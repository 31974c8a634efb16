import { FrameType } from '../../../protocol/codec/frames.ts'
import { idOf, type RawPeer, SETTINGS } from '../parties.ts'

/** A seeded pattern, so that a byte out of place shows. */
export function pattern(bytes: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, index) => (index * 31 + (index >> 8) + seed) & 0xff)
}

export function resume(peer: RawPeer, number: number, more: Record<string, unknown> = {}): void {
  peer.json(FrameType.RESUME, number, {
    id: idOf(1),
    kind: 'ssh',
    machine: 'home',
    received: 0,
    limit: SETTINGS.windowBytes,
    attempt: 1,
    ...more,
  })
}
