import type { Place, PooledConnection } from './place.ts'

/**
 * Why a channel may be taken back: it is idle and kept only for speed, or its opener has no link and may never come
 * back. Idle ones are taken first.
 */
export type OfferReason = 'idle' | 'suspended'

/** The right to one channel on a connection. */
export interface ChannelLease<Connection extends PooledConnection> {
  readonly connection: Connection
  /** Gives the place back; safe to call twice. */
  release(): void
  /**
   * Says that the channel can be spared: when another request of the user waits, `giveBack` is called, once, and must
   * close the channel and release the lease.
   */
  offer(giveBack: () => void, reason?: OfferReason): void
  /** Ends the offer. */
  keep(): void
}

/** A lease as the pool itself has it. */
export class PlaceLease<Connection extends PooledConnection> implements ChannelLease<Connection> {
  readonly connection: Connection
  readonly #place: Place<Connection>
  #held = true
  #isReturning = false
  #endOffer: (() => void) | undefined

  constructor(place: Place<Connection>, connection: Connection) {
    this.#place = place
    this.connection = connection
  }

  release(): void {
    if (this.#drop()) this.#place.released()
  }

  offer(giveBack: () => void, reason: OfferReason = 'idle'): void {
    this.keep()
    if (!this.#held || this.#isReturning) return
    const offers = this.#place.offers[reason]
    const takeBack = (): void => {
      this.keep()
      this.#isReturning = true
      this.#place.returning++
      giveBack()
    }
    offers.add(takeBack)
    this.#endOffer = () => offers.delete(takeBack)
    this.#place.changed()
  }

  keep(): void {
    this.#endOffer?.()
    this.#endOffer = undefined
  }

  /** A channel was opened under it. */
  opened(): void {
    this.#place.opened()
  }

  /** The server refused the channel; releases the lease, and says whether trying again may help. */
  refused(): boolean {
    return this.#drop() && this.#place.refused()
  }

  #drop(): boolean {
    if (!this.#held) return false
    this.#held = false
    this.keep()
    if (this.#isReturning) this.#place.returning--
    return true
  }
}
