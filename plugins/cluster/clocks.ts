import type { ClockSpread } from '../auth/index.ts'
import type { Peer } from './peer.ts'

/** A clock that differs by more than this is told of, in ms: less may be the way of a message. */
const TOLD_MS = 30_000
/** What counts of a difference, in ms: a clock that is years ahead must not revoke what a user gets in all those years. */
const MOST_MS = 86_400_000

/**
 * How far the clocks of the other replicas are from this one's. Tokens have their times from whoever signs them, so what is
 * revoked has to hold by the clock of each replica.
 */
export class ReplicaClocks {
  readonly #peers: () => Iterable<Peer>
  readonly #differ: (peer: Peer, aheadMs: number) => void
  readonly #toldOf = new WeakSet<Peer>()

  /** @param differ told once of each link over which a clock is found to be wrong, this one or the other */
  constructor(peers: () => Iterable<Peer>, differ: (peer: Peer, aheadMs: number) => void) {
    this.#peers = peers
    this.#differ = differ
  }

  /** What a replica has said of itself was heard. */
  heard(peer: Peer): void {
    const { aheadMs = 0 } = peer.state
    if (!isFar(aheadMs) || this.#toldOf.has(peer)) return
    this.#toldOf.add(peer)
    this.#differ(peer, aheadMs)
  }

  get spread(): ClockSpread {
    const spread = { aheadMs: 0, behindMs: 0 }
    for (const { state } of this.#peers()) {
      const { aheadMs = 0 } = state
      if (!isFar(aheadMs)) continue
      spread.aheadMs = Math.max(spread.aheadMs, Math.min(aheadMs, MOST_MS))
      spread.behindMs = Math.max(spread.behindMs, Math.min(-aheadMs, MOST_MS))
    }
    return spread
  }
}

export function isFar(aheadMs: number): boolean {
  return Math.abs(aheadMs) > TOLD_MS
}
