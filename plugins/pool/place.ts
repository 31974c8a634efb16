import type { TunnelError } from '../../protocol/codec/errors.ts'

/** What the pool needs of an SSH connection. */
export interface PooledConnection {
  readonly closed: boolean
  onClose(listener: (error: TunnelError | undefined) => void): void
  end(): void
}

/** The right to one channel on a connection. */
export interface ChannelLease<Connection extends PooledConnection> {
  readonly connection: Connection
  /** Gives the place back; safe to call twice. */
  release(): void
  /**
   * Says that the channel is idle and kept only for speed: when somebody waits, `giveBack` is called, once, and
   * must close the channel and release the lease.
   */
  offer(giveBack: () => void): void
  /** Ends the offer. */
  keep(): void
}

/** One of a user's places for a connection. It is taken before anything is awaited. */
export class Place<Connection extends PooledConnection> {
  readonly machineKey: string
  /** Gives up the connecting, or says that the place is gone. */
  readonly abort = new AbortController()
  connection: Connection | undefined
  leases = 0
  readonly offers = new Set<() => void>()
  #idleTimer: ReturnType<typeof setTimeout> | undefined

  constructor(machineKey: string) {
    this.machineKey = machineKey
  }

  get idle(): boolean {
    return this.connection !== undefined && this.leases === 0
  }

  startIdling(idleMs: number, onIdle: () => void): void {
    clearTimeout(this.#idleTimer)
    this.#idleTimer = setTimeout(onIdle, idleMs).unref()
  }

  stopIdling(): void {
    clearTimeout(this.#idleTimer)
    this.#idleTimer = undefined
  }

  lease(connection: Connection, onRelease: () => void, onOffer: () => void): ChannelLease<Connection> {
    this.stopIdling()
    this.leases++
    let held = true
    let offer: (() => void) | undefined
    const keep = (): void => {
      if (offer !== undefined) this.offers.delete(offer)
      offer = undefined
    }
    return {
      connection,
      release: () => {
        if (!held) return
        held = false
        keep()
        this.leases--
        onRelease()
      },
      offer: (giveBack) => {
        keep()
        if (!held) return
        offer = giveBack
        this.offers.add(giveBack)
        onOffer()
      },
      keep,
    }
  }
}
