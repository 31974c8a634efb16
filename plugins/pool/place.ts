import { ChurningSet } from '../../protocol/churn.ts'
import type { Clock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { type OfferReason, PlaceLease } from './lease.ts'

/** What the pool needs of an SSH connection. */
export interface PooledConnection {
  readonly closed: boolean
  onClose(listener: (error: TunnelError | undefined) => void): void
  /** Whether a channel failed to open because the server takes no more of them now. Nothing was run for it. */
  isFull?(error: unknown): boolean
  /** Something on it took too long: makes sure that the far side is there, and closes as lost where it is not. */
  probe?(): void
  end(): void
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
  readonly offers: Readonly<Record<OfferReason, ChurningSet<() => void>>> = {
    idle: new ChurningSet(),
    suspended: new ChurningSet(),
  }
  readonly #options: PlaceOptions
  connection: Connection | undefined
  leases = 0
  /** Leases that were offered, have been taken back, and are not released yet. */
  returning = 0
  /** Another machine is to have the place once the last lease has been released. */
  emptying = false
  /** It is due to be replaced. */
  isOld = false
  /** When its connection was made; undefined while it is not. */
  sinceMs: number | undefined
  /** What the server took at most, as far as is known. */
  #capacity: number
  #openedInARow = 0
  #releasedAtMs = Number.NEGATIVE_INFINITY
  #restTimer: unknown
  #idleTimer: unknown
  #ageTimer: unknown

  constructor(machineKey: string, options: PlaceOptions) {
    this.machineKey = machineKey
    this.#options = options
    this.#capacity = options.maxChannels
  }

  get idle(): boolean {
    return this.state === 'idle'
  }

  get state(): 'connecting' | 'idle' | 'busy' {
    if (this.connection === undefined) return 'connecting'
    return this.leases === 0 ? 'idle' : 'busy'
  }

  get hasRoom(): boolean {
    if (this.connection === undefined || this.connection.closed || this.emptying) return false
    return this.#restTimer === undefined && this.leases < this.#capacity
  }

  get offered(): number {
    return this.offers.idle.size + this.offers.suspended.size
  }

  get capacity(): number {
    return this.#capacity
  }

  /** @param maxAgeMs 0: it never grows old */
  connected(connection: Connection, maxAgeMs: number, onOld: () => void): void {
    const { clock } = this.#options
    this.connection = connection
    this.sinceMs = clock.now()
    if (maxAgeMs === 0) return
    this.#ageTimer = clock.setTimer(() => {
      this.isOld = true
      onOld()
    }, maxAgeMs)
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
    clock.clearTimer(this.#ageTimer)
    this.abort.abort()
    this.connection?.end()
  }

  /** Takes one offered lease back; its holder releases it, perhaps at once. */
  takeBack(): void {
    for (const offers of [this.offers.idle, this.offers.suspended]) {
      for (const giveBack of offers) return giveBack()
    }
  }

  /** Takes those back that are kept for speed alone. */
  takeBackIdle(): void {
    for (const giveBack of [...this.offers.idle]) giveBack()
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
