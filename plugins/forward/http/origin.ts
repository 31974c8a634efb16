import { asTunnelError, type TunnelError } from '../../../protocol/codec/errors.ts'
import type { Priority } from '../../../protocol/codec/heads.ts'
import type { Target } from '../../../protocol/codec/target.ts'
import type { ChannelLease } from '../../pool/index.ts'
import { HttpConnection } from './connection.ts'

/** A request that waits for a connection. */
export interface Waiting {
  readonly priority: Priority
  /** Only a connection that has carried nothing yet will do. */
  readonly needsFresh: boolean
  /** Called once with a connection, which `origin.free` takes back, or once with an error. */
  start(connection: HttpConnection): void
  fail(error: TunnelError): void
}

export interface OriginContext {
  target: Target
  timeoutMs: number
  acquire(signal: AbortSignal): Promise<ChannelLease>
  /** Others of the user's requests that wait for a channel; `own` is how many of those that wait are this origin's. */
  othersWaiting(own: number): number
  /** Nothing is left of it. */
  onEmpty(): void
}

/** Channels that are being opened at once. */
const MAX_OPENING = 32
/** How long a connection may go on serving this origin alone while others of the user wait, in ms. */
const FAIR_SHARE_MS = 1_000

/** The keep-alive connections of one user to one host:port behind one machine, and the requests that wait for one. */
export class HttpOrigin {
  readonly #context: OriginContext
  readonly #queue: Record<Priority, Set<Waiting>> = { high: new Set(), normal: new Set(), low: new Set() }
  readonly #connections = new Set<HttpConnection>()
  readonly #idle: HttpConnection[] = []
  /** Of the connections that are being opened, those that still wait for a channel's place. */
  readonly #acquires = new Set<AbortController>()
  #opening = 0
  #closing = false

  constructor(context: OriginContext) {
    this.#context = context
  }

  get waiting(): Record<Priority, number> {
    return { high: this.#queue.high.size, normal: this.#queue.normal.size, low: this.#queue.low.size }
  }

  add(request: Waiting): void {
    this.#queue[request.priority].add(request)
    this.#pump()
  }

  /** Gives up a request that has not started. */
  remove(request: Waiting): void {
    this.#queue[request.priority].delete(request)
    this.#afterLeaving()
    this.#checkEmpty()
  }

  /** The request that had the connection is over. */
  free(connection: HttpConnection): void {
    const heldMs = performance.now() - connection.openedAtMs
    const unfair = heldMs > FAIR_SHARE_MS && this.#context.othersWaiting(this.#acquires.size) > 0
    if (connection.usable && !unfair) this.#give(connection, false)
    else connection.close()
    this.#pump()
  }

  close(error: TunnelError): void {
    this.#closing = true
    this.#giveUpAcquiring()
    for (const request of this.#all()) this.#fail(request, error)
    for (const connection of [...this.#connections]) connection.close()
    this.#checkEmpty()
  }

  get #length(): number {
    return this.#queue.high.size + this.#queue.normal.size + this.#queue.low.size
  }

  #all(): Waiting[] {
    return [...this.#queue.high, ...this.#queue.normal, ...this.#queue.low]
  }

  #someTakesReused(): boolean {
    for (const queue of [this.#queue.high, this.#queue.normal, this.#queue.low])
      for (const request of queue) if (!request.needsFresh) return true
    return false
  }

  #next(fresh: boolean): Waiting | undefined {
    for (const queue of [this.#queue.high, this.#queue.normal, this.#queue.low]) {
      for (const request of queue) {
        if (request.needsFresh && !fresh) continue
        queue.delete(request)
        this.#afterLeaving()
        return request
      }
    }
    return undefined
  }

  /** To the next request, or to nobody: then it may be taken back for the user's other channels. */
  #give(connection: HttpConnection, fresh: boolean): void {
    const request = this.#next(fresh)
    if (request !== undefined) return request.start(connection)
    this.#idle.push(connection)
    connection.idle()
    connection.lease.offer(() => connection.close())
  }

  #pump(): void {
    while (this.#idle.length > 0 && this.#someTakesReused()) {
      const connection = this.#idle.pop() as HttpConnection
      if (!connection.usable) continue
      connection.lease.keep()
      this.#give(connection, false)
    }
    while (this.#opening < Math.min(this.#length, MAX_OPENING) && !this.#closing) this.#open()
    this.#checkEmpty()
  }

  #open(): void {
    this.#opening++
    const waited = this.#all()
    this.#connect().then(
      (connection) => {
        this.#opening--
        if (connection !== undefined) this.#give(connection, true)
        this.#pump()
      },
      (thrown: unknown) => {
        this.#opening--
        const error = asTunnelError(thrown, 'CHANNEL_OPEN_FAILED', 'ssh')
        for (const request of this.#failedBy(error, waited)) this.#fail(request, error)
        this.#pump()
      },
    )
  }

  /** Whom a connection that did not come fails. */
  #failedBy(error: TunnelError, waited: Waiting[]): Waiting[] {
    // Only this origin aborts, when there is nobody left to fail.
    if (error.code === 'ABORTED') return []
    // It took the whole of pool.waitMs, so it is true of all that were here when it began.
    if (error.code === 'POOL_EXHAUSTED') return waited
    return this.#all().slice(0, 1)
  }

  async #connect(): Promise<HttpConnection | undefined> {
    const { target, timeoutMs } = this.#context
    const abort = new AbortController()
    this.#acquires.add(abort)
    const lease = await this.#context.acquire(abort.signal).finally(() => this.#acquires.delete(abort))
    try {
      // Another connection may have come free meanwhile.
      if (this.#length === 0) {
        lease.release()
        return undefined
      }
      const channel = await lease.connection.openTcp(target.host, target.port, { timeoutMs })
      const connection: HttpConnection = new HttpConnection(lease, channel, () => {
        this.#connections.delete(connection)
        const index = this.#idle.indexOf(connection)
        if (index >= 0) this.#idle.splice(index, 1)
        this.#checkEmpty()
      })
      this.#connections.add(connection)
      if (this.#closing) connection.close()
      return this.#closing ? undefined : connection
    } catch (error) {
      lease.release()
      throw error
    }
  }

  /** Nobody waits any more: nor do we, in front of the user's other requests. */
  #afterLeaving(): void {
    if (this.#length === 0) this.#giveUpAcquiring()
  }

  #giveUpAcquiring(): void {
    for (const abort of [...this.#acquires]) abort.abort()
  }

  #fail(request: Waiting, error: TunnelError): void {
    if (this.#queue[request.priority].delete(request)) request.fail(error)
  }

  #checkEmpty(): void {
    if (this.#connections.size === 0 && this.#opening === 0 && this.#length === 0) this.#context.onEmpty()
  }
}
