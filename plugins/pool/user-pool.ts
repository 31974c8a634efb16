import type { Clock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { Route } from '../machines/index.ts'
import { poolClosed, poolExhausted, tooManyWaiting, waitAborted } from './errors.ts'
import { Line } from './line.ts'
import type { PoolOptions } from './options.ts'
import { Place, type PlaceLease, type PooledConnection } from './place.ts'
import { Wait, type Wish } from './wait.ts'

export type Connect<Connection> = (route: Route, signal: AbortSignal) => Promise<Connection>

/**
 * The connections of one user and who waits for them. The requests for one machine are served by weighted priority,
 * and in the order of their coming within one. Machines that want a further connection get one in turn; a machine with
 * a free channel does not wait behind one that has no place.
 */
export class UserPool<Connection extends PooledConnection> {
  readonly #options: PoolOptions
  readonly #clock: Clock
  readonly #connect: Connect<Connection>
  readonly #onEmpty: () => void
  /** In the order of last use. */
  readonly #places = new Set<Place<Connection>>()
  /** In the order in which they get a further connection. */
  readonly #lines = new Map<string, Line<Connection>>()
  /** Machines that have nothing to count on, as of the last look. */
  readonly #starving = new Set<Line<Connection>>()
  #waiting = 0
  #closed = false
  #serving = false
  #serveAgain = false

  constructor(options: PoolOptions, clock: Clock, connect: Connect<Connection>, onEmpty: () => void) {
    this.#options = options
    this.#clock = clock
    this.#connect = connect
    this.#onEmpty = onEmpty
  }

  get waiting(): number {
    return this.#waiting
  }

  states(): { connecting: number; idle: number; busy: number } {
    const count = { connecting: 0, idle: 0, busy: 0 }
    for (const place of this.#places) {
      count[place.connection === undefined ? 'connecting' : place.idle ? 'idle' : 'busy']++
    }
    return count
  }

  /** @throws {TunnelError} SHUTTING_DOWN, ABORTED, POOL_EXHAUSTED; the promise rejects with what the wait ends with */
  acquire(wish: Wish): Promise<PlaceLease<Connection>> {
    const { route, signal, isAgain } = wish
    if (this.#closed) throw poolClosed()
    if (signal?.aborted === true) throw waitAborted(route.name)
    if (this.#waiting >= this.#options.maxWaiting) throw tooManyWaiting(this.#options.maxWaiting)
    const line = this.#lineOf(route)
    const wait: Wait<Connection> = new Wait(wish, this.#clock, {
      settled: () => {
        line.delete(wait)
        this.#waiting--
      },
      late: () => {
        if (!line.isLate(wait)) return
        this.#rejectLate(wait)
        this.#tidy(line)
      },
      abandoned: () => {
        wait.reject(waitAborted(route.name))
        this.#tidy(line)
      },
    })
    this.#waiting++
    line.add(wait, isAgain)
    this.#serve()
    return wait.lease
  }

  /** Ends the connections to one machine, those that are being made, and the wait for them. */
  endMachine(owner: string, name: string, error: TunnelError): void {
    const line = this.#lines.get(keyOf(owner, name))
    if (line === undefined) return
    this.#end(line, error)
    this.#serve()
  }

  close(): void {
    this.#closed = true
    for (const line of [...this.#lines.values()]) this.#end(line, poolClosed())
  }

  #end(line: Line<Connection>, error: TunnelError): void {
    for (let wait = line.next(); wait !== undefined; wait = line.next()) wait.reject(error)
    for (const place of [...line.places]) this.#remove(place)
    this.#tidy(line)
  }

  #lineOf(route: Route): Line<Connection> {
    const key = keyOf(route.owner, route.name)
    let line = this.#lines.get(key)
    if (line === undefined) {
      line = new Line(key, route)
      this.#lines.set(key, line)
    }
    line.route = route
    return line
  }

  #serve(): void {
    // What is done here closes connections and releases leases, and each of those asks to serve again.
    this.#serveAgain = true
    if (this.#serving) return
    this.#serving = true
    while (this.#serveAgain) {
      this.#serveAgain = false
      for (const line of [...this.#lines.values()]) {
        this.#leaseAll(line)
        if (this.#connectAll(line)) this.#starving.delete(line)
        else this.#starving.add(line)
      }
      this.#keepUnwanted()
      for (const line of this.#starving) if (this.#takeOffer(line)) break
    }
    this.#serving = false
  }

  #leaseAll(line: Line<Connection>): void {
    const othersStarve = this.#starving.size > (this.#starving.has(line) ? 1 : 0)
    while (line.waiting > 0) {
      const place = line.pick(othersStarve)
      if (place?.connection === undefined) return
      // Used last, so evicted last.
      this.#places.delete(place)
      this.#places.add(place)
      line.next()?.resolve(place.lease(place.connection))
    }
  }

  /** Makes the connections that a machine's requests want; false where some of them have nothing to count on. */
  #connectAll(line: Line<Connection>): boolean {
    const { channelsPerConnection, maxPerUser } = this.#options
    let left = line.waiting - line.connecting * channelsPerConnection - line.returning
    while (left > 0) {
      if (this.#places.size >= maxPerUser && !this.#evict(line)) return false
      this.#open(line)
      left -= channelsPerConnection
    }
    return true
  }

  /** A place that was emptied for another machine's connection, which nobody wants any more, stays what it is. */
  #keepUnwanted(): void {
    for (const place of this.#places) {
      if (!place.emptying || !place.idle) continue
      place.emptying = false
      this.#serveAgain = true
    }
  }

  /** Makes room for another machine's connection: the one that is idle for longest goes. */
  #evict(line: Line<Connection>): boolean {
    for (const place of this.#places) {
      if (!place.idle || place.machineKey === line.key) continue
      this.#remove(place)
      return true
    }
    return false
  }

  /** Takes back what others hold and can spare, where that helps; true where something may have come free. */
  #takeOffer(line: Line<Connection>): boolean {
    for (const place of line.places) {
      if (place.offered === 0) continue
      place.takeBack()
      return true
    }
    // Another machine's place helps once it is empty, and one is enough at a time.
    let spare: Place<Connection> | undefined
    for (const place of this.#places) {
      if (place.emptying) return false
      if (place.offered === 0 || place.offered + place.returning < place.leases) continue
      if (spare === undefined || place.offers.suspended.size < spare.offers.suspended.size) spare = place
    }
    spare?.empty()
    return spare !== undefined
  }

  #open(line: Line<Connection>): void {
    const place = new Place<Connection>(line.key, {
      clock: this.#clock,
      maxChannels: this.#options.channelsPerConnection,
      onChange: () => this.#changed(place),
    })
    this.#places.add(place)
    line.places.add(place)
    // The next further connection is another machine's.
    this.#lines.delete(line.key)
    this.#lines.set(line.key, line)
    this.#connect(line.route, place.abort.signal).then(
      (connection) => {
        if (!this.#places.has(place)) return connection.end()
        place.connection = connection
        connection.onClose(() => {
          if (!this.#places.has(place)) return
          this.#remove(place)
          this.#serve()
          this.#tidy(line)
        })
        // Those it was made for come first: another machine's turn would evict it while it is idle.
        this.#leaseAll(line)
        this.#serve()
        if (place.idle) this.#idle(place)
        this.#rejectOverdue(line)
      },
      (error: unknown) => {
        if (!this.#places.has(place)) return
        this.#remove(place)
        this.#rejectPromised(line, asTunnelError(error, 'ssh', 'SSH_HANDSHAKE_FAILED'))
        this.#serve()
        this.#rejectOverdue(line)
      },
    )
  }

  /** A failed connection fails those that counted on it: as many as it had channels, those whose turn it is. */
  #rejectPromised(line: Line<Connection>, error: TunnelError): void {
    for (let left = this.#options.channelsPerConnection; left > 0; left--) {
      const wait = line.next()
      if (wait === undefined) return
      wait.reject(error)
    }
  }

  #rejectLate(wait: Wait<Connection>): void {
    wait.reject(poolExhausted(wait.route.name, this.#options.waitMs))
  }

  #rejectOverdue(line: Line<Connection>): void {
    for (const wait of line.takeOverdue()) this.#rejectLate(wait)
    this.#tidy(line)
  }

  #changed(place: Place<Connection>): void {
    if (!this.#places.has(place)) return
    if (place.idle) this.#idle(place)
    if (this.#waiting > 0) this.#serve()
  }

  #idle(place: Place<Connection>): void {
    place.startIdling(this.#options.idleMs, () => this.#remove(place))
  }

  #remove(place: Place<Connection>): void {
    if (!this.#places.delete(place)) return
    place.close()
    const line = this.#lines.get(place.machineKey)
    if (line === undefined) return
    line.places.delete(place)
    this.#tidy(line)
  }

  /** Nothing is kept of a machine, nor of a user, that has neither connections nor requests. */
  #tidy(line: Line<Connection>): void {
    if (line.isEmpty) {
      this.#starving.delete(line)
      if (this.#lines.get(line.key) === line) this.#lines.delete(line.key)
    }
    if (this.#lines.size === 0) this.#onEmpty()
  }
}

function keyOf(owner: string, name: string): string {
  return JSON.stringify([owner, name])
}
