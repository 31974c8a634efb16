import { Emitter } from '../../dial/emitter.ts'
import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import type { ForwardResponse } from '../forward-response.ts'
import type { QueueOptions } from '../options.ts'
import { IndexedDbStore } from '../queue/indexed-db-store.ts'
import type { KeeperEvents, RequestKeeper } from '../queue/keeper.ts'
import { type KeepOptions, KeptRequests } from '../queue/kept-requests.ts'
import type { StoredRequest } from '../queue/record.ts'
import type { HttpRequest, RequestPath } from '../request.ts'
import { Calls } from './calls.ts'
import { Desk } from './desk.ts'
import { QueueLock, type Release } from './queue-lock.ts'

export { KeptRequests }

/** For how long a tab that closes waits for the owner to have taken what it could not send, in ms. */
const HAND_OVER_MS = 2_000

/** The queue is this tab's. */
interface Ownership {
  readonly kept: RequestKeeper
  readonly desk: Desk
  readonly release: Release
}

/**
 * One queue on disk for all tabs of an origin. The tab that has the lock is the owner: it alone reads and writes the
 * database, and sends what is in it. The others hand it their requests, and one of them takes over when it ends.
 */
export class TabRequests extends Emitter<KeeperEvents> implements RequestKeeper {
  readonly #path: RequestPath
  readonly #queue: QueueOptions
  readonly #options: KeepOptions
  readonly #lock: QueueLock
  readonly #calls: Calls
  readonly #closing = new AbortController()
  #joined: Promise<void> | undefined
  /** Waits for the owner to end, and takes over. */
  #succession: Promise<void> | undefined
  #ownership: Ownership | undefined

  constructor(path: RequestPath, queue: QueueOptions, options: KeepOptions) {
    super()
    this.#path = path
    this.#queue = queue
    this.#options = options
    this.#lock = new QueueLock(queue.dir)
    this.#calls = new Calls(queue.dir, queue.maxRequests)
  }

  async start(): Promise<void> {
    if (this.#ownership !== undefined) return this.#ownership.kept.start()
    await this.#join()
  }

  async send(stored: StoredRequest, http: HttpRequest): Promise<ForwardResponse> {
    await this.#join()
    return this.#ownership?.kept.send(stored, http) ?? this.#calls.send(stored, http)
  }

  async keep(stored: StoredRequest): Promise<void> {
    if (this.#ownership !== undefined) return this.#ownership.kept.keep(stored)
    const { clock } = this.#path
    return new Promise((resolve, reject) => {
      const late = new TunnelError('STORE_FAILED', 'no tab has taken the request in time', { hop: 'client' })
      const timer = clock.setTimer(() => reject(late), HAND_OVER_MS)
      const onAccepted = (): void => {
        clock.clearTimer(timer)
        resolve()
      }
      const refused = (error: TunnelError): void => {
        clock.clearTimer(timer)
        reject(error)
      }
      // Its answer is nobody's: this tab closes.
      this.#calls.send(stored, { headers: stored.headers, signal: undefined, onAccepted }).catch(refused)
    })
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#joined?.catch(() => {})
    await this.#succession
    this.#calls.close(new TunnelError('ABORTED', 'this client disconnects', { hop: 'client' }))
    const ownership = this.#ownership
    if (ownership === undefined) return
    await ownership.kept.close()
    ownership.desk.close()
    ownership.release()
  }

  #join(): Promise<void> {
    this.#joined ??= this.#takeOrWait().catch((error: unknown) => {
      this.#joined = undefined
      throw error
    })
    return this.#joined
  }

  async #takeOrWait(): Promise<void> {
    const release = await this.#lock.tryToTake()
    if (release !== undefined) return this.#own(release)
    this.#succession = this.#succeed()
  }

  async #succeed(): Promise<void> {
    try {
      await this.#own(await this.#lock.take(this.#closing.signal))
    } catch (error) {
      if (!this.#closing.signal.aborted) this.emit('error', asTunnelError(error, 'client'))
    }
  }

  async #own(release: Release): Promise<void> {
    const inDatabase = () => IndexedDbStore.open(this.#queue.dir)
    const kept = new KeptRequests(this.#path, { store: inDatabase, ...this.#options })
    const desk = new Desk(kept, this.#path.clock, this.#queue.dir)
    try {
      for (const name of ['restored', 'set-aside', 'error'] as const)
        kept.on(name, (...args: KeeperEvents[typeof name]) => this.emit(name, ...args))
      await kept.start()
      this.#ownership = { kept, desk, release }
      desk.open()
    } catch (error) {
      // It is tried again with the next request.
      desk.close()
      release()
      throw error
    }
  }
}
