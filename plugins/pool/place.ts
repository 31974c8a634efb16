import type { Clock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'

/** What the pool needs of an SSH connection. */
export interface PooledConnection {
  readonly closed: boolean
  onClose(listener: (error: TunnelError | undefined) => void): void
  /** Whether a channel failed to open because the server takes no more of them now. Nothing was run for it. */
  isFull?(error: unknown): boolean
  end(): void
}

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

/** For how long a server that refused a channel is left alone, in ms. */
const REST_MS = 50
/** sshd counts a session for a while after its channel has closed, in ms at the most. */
const REAP_MS = 1_000
/** Channels that open without a refusal before one more at a time is tried again. */
const OPENED_IN_A_ROW = 64

interface PlaceOptions {
  clock: Clock
  maxChannels: number
  /** A lease was released or offered, or the place has rested: somebody who waits may be served. */
  onChange(): void
}

/** One of a user's places for a connection. It is taken before anything is awaited. */
export class Place<Connection extends PooledConnection> {
  readonly machineKey: string
  /** Gives up the connecting, or says that the place is gone. */
  readonly abort = new AbortController()
  readonly offers: Readonly<Record<OfferReason, Set<() => void>>> = { idle: new Set(), suspended: new Set() }
  readonly #options: PlaceOptions
  connection: Connection | undefined
  leases = 0
  /** Leases that were offered, have been taken back, and are not released yet. */
  returning = 0
  /** Another machine is to have the place once the last lease has been released. */
  emptying = false
  /** What the server took at most, as far as is known. */
  #capacity: number
  #openedInARow = 0
  #releasedAtMs = Number.NEGATIVE_INFINITY
  #restTimer: unknown
  #idleTimer: unknown

  constructor(machineKey: string, options: PlaceOptions) {
    this.machineKey = machineKey
    this.#options = options
    this.#capacity = options.maxChannels
  }

  get idle(): boolean {
    return this.connection !== undefined && this.leases === 0
  }

  get hasRoom(): boolean {
    if (this.connection === undefined || this.connection.closed || this.emptying) return false
    return this.#restTimer === undefined && this.leases < this.#capacity
  }

  get offered(): number {
    return this.offers.idle.size + this.offers.suspended.size
  }

  startIdling(idleMs: number, onIdle: () => void): void {
    const { clock } = this.#options
    clock.clearTimer(this.#idleTimer)
    this.#idleTimer = clock.setTimer(onIdle, idleMs)
  }

  /** Stops every timer and gives up what is being made. Safe to call twice. */
  close(): void {
    const { clock } = this.#options
    clock.clearTimer(this.#idleTimer)
    clock.clearTimer(this.#restTimer)
    this.abort.abort()
    this.connection?.end()
  }

  /** Takes one offered lease back; its holder releases it, perhaps at once. */
  takeBack(): void {
    for (const offers of [this.offers.idle, this.offers.suspended]) {
      for (const giveBack of offers) return giveBack()
    }
  }

  /** Takes all of them back, so that the place comes free for another machine. */
  empty(): void {
    this.emptying = true
    for (let left = this.offered; left > 0; left--) this.takeBack()
  }

  lease(connection: Connection): PlaceLease<Connection> {
    this.#options.clock.clearTimer(this.#idleTimer)
    this.leases++
    return new PlaceLease(this, connection)
  }

  /** For its leases. */
  released(): void {
    this.#releasedAtMs = this.#options.clock.now()
    this.#leave()
  }

  #leave(): void {
    this.leases--
    this.#options.onChange()
  }

  /** For its leases. */
  changed(): void {
    this.#options.onChange()
  }

  /** For its leases. */
  opened(): void {
    this.#openedInARow++
    if (this.#openedInARow < OPENED_IN_A_ROW || this.#capacity >= this.#options.maxChannels) return
    this.#openedInARow = 0
    this.#capacity++
  }

  /**
   * For its leases: the server took no further channel. Says whether it may take one later: not where it has none and
   * has had none of late.
   */
  refused(): boolean {
    const { clock } = this.#options
    const others = this.leases - 1
    const mayTakeLater = others > 0 || clock.now() - this.#releasedAtMs < REAP_MS
    this.#capacity = Math.max(1, others)
    this.#openedInARow = 0
    this.#restTimer ??= clock.setTimer(() => {
      this.#restTimer = undefined
      this.#options.onChange()
    }, REST_MS)
    this.#leave()
    return mayTakeLater
  }
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
