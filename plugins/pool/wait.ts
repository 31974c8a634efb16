import type { Clock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { Priority } from '../../protocol/codec/heads.ts'
import type { Route } from '../machines/index.ts'
import type { PlaceLease } from './lease.ts'
import type { PooledConnection } from './place.ts'

export interface Wish {
  route: Route
  priority: Priority
  signal: AbortSignal | undefined
  /** How long it may wait. */
  waitMs: number
  /** It had a place, and the server refused its channel there: it is served first. */
  isAgain: boolean
}

interface WaitOwner {
  /** It waits no more, whatever has come of it. */
  settled(): void
  /** Its time is up. */
  late(): void
  /** Whoever asked for it has given it up. */
  abandoned(): void
}

/** A request that waits for a channel's place: until it has one, or is told why it gets none. */
export class Wait<Connection extends PooledConnection> {
  readonly route: Route
  readonly priority: Priority
  readonly lease: Promise<PlaceLease<Connection>>
  readonly #clock: Clock
  readonly #signal: AbortSignal | undefined
  readonly #owner: WaitOwner
  readonly #timer: unknown
  #resolve: (lease: PlaceLease<Connection>) => void = () => {}
  #reject: (error: TunnelError) => void = () => {}
  readonly #onAbort = (): void => this.#owner.abandoned()

  constructor({ route, priority, signal, waitMs }: Wish, clock: Clock, owner: WaitOwner) {
    this.route = route
    this.priority = priority
    this.#clock = clock
    this.#signal = signal
    this.#owner = owner
    this.lease = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#timer = clock.setTimer(() => owner.late(), waitMs)
    signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  resolve(lease: PlaceLease<Connection>): void {
    this.#settle()
    this.#resolve(lease)
  }

  reject(error: TunnelError): void {
    this.#settle()
    this.#reject(error)
  }

  #settle(): void {
    this.#clock.clearTimer(this.#timer)
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#owner.settled()
  }
}
