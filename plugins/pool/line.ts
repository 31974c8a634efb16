import type { TunnelError } from '../../protocol/codec/errors.ts'
import { PriorityLanes } from '../../protocol/priority-lanes.ts'
import type { Route } from '../machines/index.ts'
import { poolExhausted } from './errors.ts'
import type { Place, PooledConnection } from './place.ts'
import type { Wait } from './wait.ts'

/** Tells one machine from another among all that a user reaches. */
export function machineKey({ owner, name }: Pick<Route, 'owner' | 'name'>): string {
  return JSON.stringify([owner, name])
}

/** One machine's connections, and who waits for them. */
export class Line<Connection extends PooledConnection> {
  readonly key: string
  /** The newest of those that lead there. */
  route: Route
  readonly places = new Set<Place<Connection>>()
  readonly #lanes = new PriorityLanes<Wait<Connection>>()
  /** Those that had a place on which the server refused their channel: they have waited already. */
  readonly #again = new Set<Wait<Connection>>()
  /** Their time is up, and they wait only for the outcome of a connection that is being made. */
  readonly #overdue = new Set<Wait<Connection>>()

  constructor(route: Route) {
    this.key = machineKey(route)
    this.route = route
  }

  get waiting(): number {
    return this.#lanes.size + this.#again.size
  }

  get isEmpty(): boolean {
    return this.waiting === 0 && this.places.size === 0
  }

  /** Connections that are being made. */
  get connecting(): number {
    let count = 0
    for (const place of this.places) if (place.connection === undefined) count++
    return count
  }

  /** Leases that were taken back for this machine's own requests, and are about to be released. */
  get returning(): number {
    let count = 0
    for (const place of this.places) if (!place.emptying) count += place.returning
    return count
  }

  add(wait: Wait<Connection>, isAgain: boolean): void {
    if (isAgain) this.#again.add(wait)
    else this.#lanes.add(wait, wait.priority)
  }

  delete(wait: Wait<Connection>): void {
    this.#overdue.delete(wait)
    if (!this.#again.delete(wait)) this.#lanes.delete(wait, wait.priority)
  }

  /** Takes whose turn it is out of the line. */
  next(): Wait<Connection> | undefined {
    for (const wait of this.#again) {
      this.#again.delete(wait)
      return wait
    }
    return this.#lanes.next()
  }

  /** Ends the wait of so many, those whose turn it is. */
  reject(count: number, error: TunnelError): void {
    for (let left = count; left > 0; left--) {
      const wait = this.next()
      if (wait === undefined) return
      wait.reject(error)
    }
  }

  /** Its time of `waitMs` is up: it goes, unless a connection is being made, which is still waited for. */
  late(wait: Wait<Connection>, waitMs: number): void {
    if (this.connecting > 0) this.#overdue.add(wait)
    else wait.reject(poolExhausted(this.route.name, waitMs))
  }

  /** Those whose time is up go once no connection is being made for them any more. */
  rejectOverdue(waitMs: number): void {
    if (this.#overdue.size === 0 || this.connecting > 0) return
    for (const wait of [...this.#overdue]) wait.reject(poolExhausted(this.route.name, waitMs))
  }

  /**
   * What the next channel goes over: the least loaded connection, or the fullest so that another may run empty. One that
   * is due to be replaced comes last.
   */
  pick(fullest: boolean): Place<Connection> | undefined {
    let best: Place<Connection> | undefined
    for (const place of this.places) {
      if (!place.hasRoom) continue
      if (best === undefined) best = place
      else if (place.isOld !== best.isOld) best = best.isOld ? place : best
      else if (fullest ? place.leases > best.leases : place.leases < best.leases) best = place
    }
    return best
  }

  /** Its old connections keep nothing for speed alone once a new one has room for it. */
  leaveOld(): void {
    if (this.pick(false)?.isOld !== false) return
    for (const place of this.places) if (place.isOld) place.takeBackIdle()
  }
}
