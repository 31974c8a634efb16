import { EventEmitter, once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Scope } from '../support/scope.ts'
import { type LineConditions, Pipe } from './pipe.ts'
import { StallWatch } from './stall-watch.ts'

export interface Address {
  host: string
  port: number
}

/** `up` is from whoever dialled the relay to the target, `down` the way back. */
export type Direction = 'up' | 'down'
const DIRECTIONS = ['up', 'down'] as const

export interface RelayCounters {
  accepted: number
  /** Connections that were turned away because `refusing`, or because the target was not there. */
  refused: number
  /** Connections that `cut`, `reset` or `cutAfter` ended. */
  cut: number
  upBytes: number
  downBytes: number
}

export interface FaultRelayOptions {
  target: Address
  /** Default 127.0.0.1. */
  host?: string
}

interface Connection {
  near: Socket
  far: Socket | undefined
  pipes: Partial<Record<Direction, Pipe>>
}

interface FaultRelayEvents {
  /** A connection's both sides are there. */
  joined: []
  /** A connection is over, for whatever reason. */
  parted: []
  /** The relay has cut this many connections. */
  cut: [connections: number]
  /** Bytes were forwarded. */
  bytes: [direction: Direction, byteCount: number]
}

/** Connections that wait in a frozen relay, at most; more are refused. */
const MAX_CONNECTIONS = 4_096

function clearConditions(): LineConditions {
  return { delayMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY, frozen: false, cutAtBytes: undefined }
}

/** A TCP relay on a port of its own that does to its connections, on demand, what networks do. */
export class FaultRelay extends EventEmitter<FaultRelayEvents> {
  readonly host: string
  readonly counters: RelayCounters = { accepted: 0, refused: 0, cut: 0, upBytes: 0, downBytes: 0 }
  /** Where new connections go; may be changed at any time. */
  target: Address
  /** New connections are reset at once, as by a host where nothing listens. */
  refusing = false
  /** The longest time without a byte in either direction. */
  readonly stall = new StallWatch()
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  readonly #conditions = { up: clearConditions(), down: clearConditions() }

  /** Starts a relay that `scope` closes. */
  static async listen(scope: Scope, options: FaultRelayOptions): Promise<FaultRelay> {
    const relay = new FaultRelay(options)
    scope.after(() => relay.close())
    relay.#server.listen(0, relay.host)
    await once(relay.#server, 'listening')
    return relay
  }

  private constructor({ target, host = '127.0.0.1' }: FaultRelayOptions) {
    super()
    this.target = target
    this.host = host
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => this.#accept(near))
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://${this.host}:${this.port}`
  }

  /** Connections that are open now. */
  get size(): number {
    return this.#connections.size
  }

  /** Ends all connections, both sides, in mid-stream. Gives how many. */
  cut(): number {
    return this.#endAll((socket) => socket.destroy())
  }

  /** The same with a TCP reset, so that the peers see ECONNRESET. */
  reset(): number {
    return this.#endAll((socket) => socket.resetAndDestroy())
  }

  /** Stops reading and forwarding, and closes nothing; new connections are taken and wait. */
  freeze(...directions: Direction[]): void {
    this.#change(directions, (conditions) => {
      conditions.frozen = true
    })
  }

  thaw(...directions: Direction[]): void {
    this.#change(directions, (conditions) => {
      conditions.frozen = false
    })
  }

  delay(ms: number, ...directions: Direction[]): void {
    this.#change(directions, (conditions) => {
      conditions.delayMs = ms
    })
  }

  /** Bytes a second for each connection and direction; Infinity lifts it. */
  throttle(bytesPerSecond: number, ...directions: Direction[]): void {
    this.#change(directions, (conditions) => {
      conditions.bytesPerSecond = bytesPerSecond
    })
  }

  /** Cuts everything when exactly this many more bytes have been forwarded in that direction. */
  cutAfter(byteCount: number, direction: Direction): void {
    this.#conditions[direction].cutAtBytes = this.#forwarded(direction) + byteCount
  }

  /** Tells the target (`up`) or the dialler (`down`) that no more comes, while the other direction goes on. */
  halfClose(direction: Direction): void {
    for (const { near, far, pipes } of this.#connections) {
      pipes[direction]?.close()
      const [from, to] = direction === 'up' ? [near, far] : [far, near]
      from?.resume() // what still comes is lost
      to?.end()
    }
  }

  /** No fault any more: thawed, no delay, no throttle, no cut to come, nothing refused. */
  clear(): void {
    this.refusing = false
    this.#change([], (conditions) => Object.assign(conditions, clearConditions()))
  }

  async close(): Promise<void> {
    this.clear()
    const closed = this.#server.listening ? once(this.#server, 'close') : undefined
    this.#server.close()
    this.#endAll((socket) => socket.destroy(), false)
    await closed
  }

  #accept(near: Socket): void {
    if (this.refusing) {
      this.counters.refused++
      near.on('error', () => {})
      near.resetAndDestroy()
      return
    }
    const connection: Connection = { near, far: undefined, pipes: {} }
    this.counters.accepted++
    this.#connections.add(connection)
    this.#watch(near, connection)
    near.pause()
    this.#dial(connection)
  }

  /** A frozen relay dials when it thaws: the dialler sees a host that takes connections and says nothing. */
  #dial(connection: Connection): void {
    if (connection.far || connection.near.destroyed || this.#conditions.up.frozen) return
    const far = connect({ ...this.target, allowHalfOpen: true, noDelay: true })
    connection.far = far
    this.#watch(far, connection)
    far.once('connect', () => {
      for (const direction of DIRECTIONS) {
        const [from, to] = direction === 'up' ? [connection.near, far] : [far, connection.near]
        connection.pipes[direction] = new Pipe(from, to, this.#conditions[direction], {
          forwarding: (byteCount) => this.#forwarding(direction, byteCount),
          cutIsDue: () => this.#conditions[direction].cutAtBytes === this.#forwarded(direction),
          reachedCut: () => this.#reachedCut(direction),
        })
      }
      this.emit('joined')
    })
  }

  /** When one side fails so does the other, with a reset. An orderly end is passed on by the pipes. */
  #watch(socket: Socket, connection: Connection): void {
    let failed = false
    socket.on('error', () => {
      failed = true
    })
    socket.on('close', () => {
      const other = socket === connection.near ? connection.far : connection.near
      if (socket === connection.far && connection.pipes.up === undefined && failed) this.counters.refused++
      if (failed) other?.resetAndDestroy()
      if (!connection.near.destroyed || connection.far?.destroyed === false) return
      for (const direction of DIRECTIONS) connection.pipes[direction]?.close()
      if (this.#connections.delete(connection)) this.emit('parted')
    })
  }

  #forwarding(direction: Direction, byteCount: number): number {
    const cutAtBytes = this.#conditions[direction].cutAtBytes
    const allowed = Math.min(byteCount, (cutAtBytes ?? Number.POSITIVE_INFINITY) - this.#forwarded(direction))
    this.stall.moved()
    this.counters[direction === 'up' ? 'upBytes' : 'downBytes'] += allowed
    this.emit('bytes', direction, allowed)
    return allowed
  }

  #forwarded(direction: Direction): number {
    return direction === 'up' ? this.counters.upBytes : this.counters.downBytes
  }

  #reachedCut(direction: Direction): void {
    this.#conditions[direction].cutAtBytes = undefined
    this.cut()
  }

  #change(directions: readonly Direction[], change: (conditions: LineConditions) => void): void {
    for (const direction of directions.length > 0 ? directions : DIRECTIONS)
      change(this.#conditions[direction])
    for (const connection of this.#connections) {
      this.#dial(connection)
      for (const direction of DIRECTIONS) connection.pipes[direction]?.update()
    }
  }

  #endAll(end: (socket: Socket) => void, counted = true): number {
    const ended = this.#connections.size
    for (const { near, far } of this.#connections) {
      end(near)
      if (far) end(far)
    }
    if (counted && ended > 0) {
      this.counters.cut += ended
      this.emit('cut', ended)
    }
    return ended
  }
}
