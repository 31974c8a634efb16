import { ChurningSet } from '../../../protocol/churn.ts'
import { asTunnelError, TunnelError } from '../../../protocol/codec/errors.ts'
import type { Priority } from '../../../protocol/codec/heads.ts'
import type { Target } from '../../../protocol/codec/target.ts'
import { PriorityLanes } from '../../../protocol/priority-lanes.ts'
import type { ChannelLease } from '../../pool/index.ts'
import type { NameCheck } from '../../ssh/index.ts'
import { HttpConnection } from './connection.ts'

/** A request that waits for a connection. */
export interface Waiting {
  readonly priority: Priority
  /** Only a connection that has carried nothing yet will do. */
  readonly needsFresh: boolean
  /** Where it may be led by the name of its service. */
  readonly names: NameCheck
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
/**
 * Given with an abort, which happens for every other request while all channels are in use: one of its own, with the stack that
 * it was made on, would cost more than the wait that it ends.
 */
const NOBODY_WAITS = new TunnelError('ABORTED', 'nobody waits for it', { hop: 'proxy' })
/** How long a connection may go on serving this origin alone while others of the user wait, in ms. */
const FAIR_SHARE_MS = 1_000

/** The keep-alive connections of one user to one host:port behind one machine, and the requests that wait for one. */
export class HttpOrigin {
  readonly #context: OriginContext
  readonly #lanes = new PriorityLanes<Waiting>()
  /** Those that need a fresh connection, and go first on one: they have waited before. */
  readonly #again = new Set<Waiting>()
  readonly #connections = new Set<HttpConnection>()
  readonly #idle: HttpConnection[] = []
  /** Of the connections that are being opened, those that still wait for a channel's place. */
  readonly #acquires = new ChurningSet<AbortController>()
  #opening = 0
  #closing: TunnelError | undefined

  constructor(context: OriginContext) {
    this.#context = context
  }

  get waiting(): Record<Priority, number> {
    const sizes = { ...this.#lanes.sizes }
    for (const { priority } of this.#again) sizes[priority]++
    return sizes
  }

  add(request: Waiting): void {
    if (this.#closing !== undefined) return request.fail(this.#closing)
    if (request.needsFresh) this.#again.add(request)
    else this.#lanes.add(request, request.priority)
    this.#pump()
  }

  /** Gives up a request that has not started. */
  remove(request: Waiting): void {
    this.#leave(request)
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
    this.#closing = error
    this.#giveUpAcquiring()
    for (const request of this.#all()) this.#fail(request, error)
    for (const connection of [...this.#connections]) connection.close(error)
    this.#checkEmpty()
  }

  get #length(): number {
    return this.#lanes.size + this.#again.size
  }

  #all(): Waiting[] {
    return [...this.#again, ...this.#lanes.values()]
  }

  /** Whether it stood there. */
  #leave(request: Waiting): boolean {
    return this.#again.delete(request) || this.#lanes.delete(request, request.priority)
  }

  #next(fresh: boolean): Waiting | undefined {
    const [first] = fresh ? this.#again : []
    const request = first ?? this.#lanes.next()
    if (first !== undefined) this.#again.delete(first)
    if (request !== undefined) this.#afterLeaving()
    return request
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
    while (this.#idle.length > 0 && this.#lanes.size > 0) {
      const connection = this.#idle.pop() as HttpConnection
      if (!connection.usable) continue
      connection.lease.keep()
      this.#give(connection, false)
    }
    while (this.#opening < Math.min(this.#length, MAX_OPENING) && this.#closing === undefined) this.#open()
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
        const error = asTunnelError(thrown, 'ssh', 'CHANNEL_OPEN_FAILED')
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
      const [first] = this.#all()
      if (first === undefined) {
        lease.release()
        return undefined
      }
      let address: string | undefined
      const onAddress = (its: string): void => {
        address = its
      }
      const options = { timeoutMs, names: first.names, onAddress }
      const channel = await lease.connection.openTcp(target.host, target.port, options)
      const connection: HttpConnection = new HttpConnection(lease, channel, address, () => {
        this.#connections.delete(connection)
        const index = this.#idle.indexOf(connection)
        if (index >= 0) this.#idle.splice(index, 1)
        this.#checkEmpty()
      })
      this.#connections.add(connection)
      if (this.#closing === undefined) return connection
      connection.close()
      return undefined
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
    for (const abort of [...this.#acquires]) abort.abort(NOBODY_WAITS)
  }

  #fail(request: Waiting, error: TunnelError): void {
    if (this.#leave(request)) request.fail(error)
  }

  #checkEmpty(): void {
    if (this.#connections.size === 0 && this.#opening === 0 && this.#length === 0) this.#context.onEmpty()
  }
}
