import type { Clock } from '../../protocol/clock.ts'
import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import { shuttingDown } from '../../protocol/codec/shutting-down.ts'
import type { Route } from '../machines/index.ts'
import { tooManyWaiting, waitAborted } from './errors.ts'
import type { PlaceLease } from './lease.ts'
import { Line, machineKey } from './line.ts'
import { keepUnwanted, takeOffer } from './offers.ts'
import type { PoolOptions } from './options.ts'
import { Place, type PooledConnection } from './place.ts'
import { type PoolReport, reportOf } from './reports.ts'
import { Wait, type Wish } from './wait.ts'

/** What a user's pool needs of its surroundings. */
export interface UserPoolOwner<Connection> {
  connect(route: Route, signal: AbortSignal): Promise<Connection>
  /** The last connection to a machine was lost while it stood: those that go at once with it count as one. */
  lost(route: Route, error: TunnelError): void
  /** There is nothing left to keep it for. */
  empty(): void
}

/**
 * The connections of one user and who waits for them. The requests for one machine are served by weighted priority,
 * and in the order of their coming within one. Machines that want a further connection get one in turn; a machine with
 * a free channel does not wait behind one that has no place.
 */
export class UserPool<Connection extends PooledConnection> {
  readonly #options: PoolOptions
  readonly #clock: Clock
  readonly #owner: UserPoolOwner<Connection>
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

  constructor(options: PoolOptions, clock: Clock, owner: UserPoolOwner<Connection>) {
    this.#options = options
    this.#clock = clock
    this.#owner = owner
  }

  get waiting(): number {
    return this.#waiting
  }

  report(): PoolReport {
    return reportOf(this.#lines.values(), this.#clock.now())
  }

  /** @throws {TunnelError} SHUTTING_DOWN, ABORTED, POOL_EXHAUSTED; the promise rejects with what the wait ends with */
  acquire(wish: Wish): Promise<PlaceLease<Connection>> {
    const { route, signal, isAgain } = wish
    if (this.#closed) throw shuttingDown()
    if (signal?.aborted === true) throw waitAborted(route.name)
    if (this.#waiting >= this.#options.maxWaiting) throw tooManyWaiting(this.#options.maxWaiting)
    const line = this.#lineOf(route)
    const wait: Wait<Connection> = new Wait(wish, this.#clock, {
      settled: () => {
        line.delete(wait)
        this.#waiting--
      },
      late: () => {
        line.late(wait, this.#options.waitMs)
        this.#tidy(line)
      },
      abandoned: () => {
        const reason: unknown = signal?.reason
        const isSaid = reason instanceof TunnelError && reason.code === 'ABORTED'
        wait.reject(isSaid ? reason : waitAborted(route.name))
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
    const line = this.#lines.get(machineKey({ owner, name }))
    if (line === undefined) return
    this.#end(line, error)
    this.#serve()
  }

  close(): void {
    this.#closed = true
    for (const line of [...this.#lines.values()]) this.#end(line, shuttingDown())
  }

  #end(line: Line<Connection>, error: TunnelError): void {
    line.reject(Number.POSITIVE_INFINITY, error)
    for (const place of [...line.places]) this.#remove(place)
    this.#tidy(line)
  }

  #lineOf(route: Route): Line<Connection> {
    const key = machineKey(route)
    const line = this.#lines.get(key) ?? new Line<Connection>(route)
    this.#lines.set(key, line)
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
      if (keepUnwanted(this.#places)) this.#serveAgain = true
      for (const line of this.#starving) if (takeOffer(line, this.#places)) break
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

  /**
   * Makes the connections that a machine's requests want, one after the other: a handshake is dear to a small machine,
   * and its sshd counts those that are not through. False where some of them have nothing to count on.
   */
  #connectAll(line: Line<Connection>): boolean {
    const { channelsPerConnection, maxPerUser } = this.#options
    if (line.waiting - line.connecting * channelsPerConnection - line.returning <= 0) return true
    if (line.connecting > 0) return true
    if (this.#places.size >= maxPerUser && !this.#evict(line)) return false
    this.#open(line)
    return true
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
    const { route } = line
    this.#owner.connect(route, place.abort.signal).then(
      (connection) => {
        if (!this.#places.has(place)) return connection.end()
        place.connected(connection, this.#options.maxAgeMs, () => this.#replace(place, line))
        connection.onClose((error) => {
          if (!this.#places.has(place)) return
          this.#remove(place)
          if (error !== undefined && line.places.size === 0) this.#owner.lost(route, error)
          this.#serve()
          this.#tidy(line)
        })
        // Those it was made for come first: another machine's turn would evict it while it is idle.
        this.#leaseAll(line)
        this.#serve()
        if (place.idle) this.#idle(place)
        line.leaveOld()
        this.#rejectOverdue(line)
      },
      (error: unknown) => {
        if (!this.#places.has(place)) return
        this.#remove(place)
        // It fails those that counted on it.
        line.reject(this.#options.channelsPerConnection, asTunnelError(error, 'ssh', 'SSH_HANDSHAKE_FAILED'))
        this.#serve()
        this.#rejectOverdue(line)
      },
    )
  }

  /**
   * It has grown old. It serves until there is another; where there can be none now, it serves on and goes when it is
   * idle.
   */
  #replace(place: Place<Connection>, line: Line<Connection>): void {
    if (place.idle) return this.#remove(place)
    if (this.#places.size < this.#options.maxPerUser && line.connecting === 0) this.#open(line)
  }

  #rejectOverdue(line: Line<Connection>): void {
    line.rejectOverdue(this.#options.waitMs)
    this.#tidy(line)
  }

  #changed(place: Place<Connection>): void {
    if (!this.#places.has(place)) return
    if (place.idle && place.isOld) this.#remove(place)
    else if (place.idle) this.#idle(place)
    else if (place.isOld && place.offers.idle.size > 0) this.#lines.get(place.machineKey)?.leaveOld()
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
    if (this.#lines.size === 0) this.#owner.empty()
  }
}
