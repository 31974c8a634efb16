import { Emitter } from '../../dial/emitter.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import { type ForwardResponse, takeWhole } from '../forward-response.ts'
import { type HeadersLike, headerList } from '../headers.ts'
import { outcomeUnknown, stillQueued } from '../outcome.ts'
import type { HttpRequest, RequestPath } from '../request.ts'
import { sendRequest } from '../sending.ts'
import type { Cipher, SecretKey } from './cipher.ts'
import { asStoreFailed, configInvalid } from './errors.ts'
import { cipherOf, handedOver } from './handed-over.ts'
import { type Entry, Journal } from './journal.ts'
import type { KeeperEvents, RequestKeeper } from './keeper.ts'
import { type KeptPlace, KeptPlaces } from './kept-places.ts'
import { RestoredRequest } from './queued-request.ts'
import type { StoredRequest } from './record.ts'
import type { QueueStore } from './store.ts'

/** What a program may say of its queue beside the settings. */
export interface KeepOptions {
  /** In place of LevelDB in `queue.dir`; called once, and again while the store is another program's. */
  store?: () => Promise<QueueStore>
  /** Encrypts what is kept: 32 bytes, or a key for AES-GCM. @default it is not encrypted */
  encryptionKey?: Uint8Array | SecretKey
  /**
   * The headers that are never on disk, for a request that is sent after a restart: `names` are those that it was
   * accepted with. Without it such a request stays on disk, and its promise rejects with STILL_QUEUED.
   */
  credentials?: (request: StoredRequest, names: readonly string[]) => HeadersLike | Promise<HeadersLike>
}

/** The requests that are in the store, from their acceptance to their outcome, over all starts of the program. */
export class KeptRequests extends Emitter<KeeperEvents> implements RequestKeeper {
  readonly #path: RequestPath
  readonly #options: KeepOptions
  readonly #cipher: Promise<Cipher | undefined>
  /** While the store is this program's. */
  #places: KeptPlaces | undefined
  #opening: Promise<KeptPlaces> | undefined
  /** Of another program: in the store, and not begun before it can no longer come again. */
  readonly #received = new Map<string, Entry>()
  /** No request is begun any more. */
  #isClosing = false

  constructor(path: RequestPath, options: KeepOptions) {
    super()
    this.#path = path
    this.#options = options
    this.#cipher = cipherOf(options.encryptionKey)
    // `start` waits for it, and throws what it rejects with.
    this.#cipher.catch(() => {})
  }

  /** Opens the store, and begins with what is in it. @throws {TunnelError} QUEUE_LOCKED, STORE_FAILED, CONFIG_INVALID */
  async start(): Promise<void> {
    const places = this.#places
    if (places === undefined) return void (await this.#open())
    // Those that were given up with an earlier connection.
    await this.#restore(places, (entry) => places.isGivenUp(entry))
  }

  /** Keeps the request from its acceptance to its outcome. @throws {TunnelError} */
  send(stored: StoredRequest, http: HttpRequest): Promise<ForwardResponse> {
    // Thousands may wait, and each step of a wait is memory.
    if (this.#places !== undefined) return this.#send(this.#places, stored, http)
    return this.#open().then((places) => this.#send(places, stored, http))
  }

  #send(places: KeptPlaces, stored: StoredRequest, http: HttpRequest): Promise<ForwardResponse> {
    http.body = stored.body
    http.kept = places.take(stored)
    return sendRequest(this.#path, http, takeWhole(stored.maxBodyBytes))
  }

  /** Keeps the request for the next start. @throws {TunnelError} */
  async keep(stored: StoredRequest): Promise<void> {
    const place = (await this.#open()).take(stored)
    try {
      await place.accept()
    } finally {
      place.over(false)
    }
  }

  /** Waits for what is written, and lets go of the store. Everything has been given an end before. */
  async close(): Promise<void> {
    this.#isClosing = true
    // Whoever opened it has been told.
    await this.#opening?.catch(() => {})
    await this.#places?.idle()
    await this.#places?.journal.close()
    this.#places = undefined
  }

  #open(): Promise<KeptPlaces> {
    if (this.#places !== undefined) return Promise.resolve(this.#places)
    this.#opening ??= this.#openStore().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #openStore(): Promise<KeptPlaces> {
    const { store: open } = this.#options
    if (open === undefined) throw configInvalid('queue.dir: there is none')
    if (typeof open !== 'function') throw configInvalid('queue.store: is not a function that opens a store')
    const cipher = await this.#cipher
    const store = await opened(open)
    let places: KeptPlaces
    try {
      places = new KeptPlaces(await Journal.open(store, this.#path.clock, cipher))
      await this.#restore(places, () => true)
    } catch (error) {
      await store.close()
      throw error
    }
    this.#places = places
    store.receive?.(
      (name, value) => this.#receive(places, name, value),
      (error) => this.emit('error', error),
    )
    return places
  }

  async #restore(places: KeptPlaces, isWaiting: (entry: Entry) => boolean): Promise<void> {
    const { entries, setAside } = await places.journal.load()
    if (setAside.length > 0) this.emit('set-aside', setAside)
    this.#begin(places, entries.filter(isWaiting))
  }

  /** Tells of them all, and then sends them in their order. */
  #begin(places: KeptPlaces, entries: readonly Entry[]): void {
    if (entries.length === 0) return
    let tell!: () => void
    const told = new Promise<void>((resolve) => {
      tell = resolve
    })
    const restored = entries.map((entry) => {
      const { request, maybeSent } = entry
      const place = places.takeAgain(entry)
      const run = (signal: AbortSignal) => told.then(() => this.#sendAgain(place, entry, signal))
      return new RestoredRequest(request, maybeSent, run, (error) => this.emit('error', error))
    })
    this.emit('restored', restored)
    tell()
  }

  async #sendAgain(place: KeptPlace, entry: Entry, signal: AbortSignal): Promise<ForwardResponse> {
    let http: HttpRequest
    try {
      http = await this.#requestOf(entry)
    } catch (error) {
      place.over((error as TunnelError).code !== 'STILL_QUEUED')
      throw error
    }
    return sendRequest(this.#path, { ...http, signal, kept: place }, takeWhole(entry.request.maxBodyBytes))
  }

  /** @throws {TunnelError} OUTCOME_UNKNOWN for one that must not be sent again, STILL_QUEUED for one that cannot be now */
  async #requestOf({ request, maybeSent }: Entry): Promise<HttpRequest> {
    const { machine, target, method, path, body, priority, idempotent, timeoutMs } = request
    if (maybeSent && !idempotent) throw outcomeUnknown()
    const { headers, expiresAtMs } = request
    return {
      ...{ machine, target, method, path, body, priority, idempotent, timeoutMs },
      headers: [...headers, ...(await this.#credentialsFor(request))],
      expiresInMs: expiresAtMs === undefined ? undefined : Math.max(0, expiresAtMs - Date.now()),
    }
  }

  async #credentialsFor(request: StoredRequest): Promise<[string, string][]> {
    const { withheld } = request
    if (withheld.length === 0) return []
    const { credentials } = this.#options
    if (credentials === undefined) {
      const what = `${withheld.join(', ')}: never on disk, and there is no queue.credentials to give it again`
      throw stillQueued(configInvalid(what))
    }
    try {
      return headerList(await credentials(request, withheld))
    } catch (error) {
      throw stillQueued(asTunnelError(error, 'client', 'CONFIG_INVALID'))
    }
  }

  /** A request that another program has left. Resolves to what to do when it can no longer come again. */
  async #receive(places: KeptPlaces, name: string, value: Uint8Array): Promise<() => void> {
    let request: StoredRequest
    try {
      request = await handedOver(value, await this.#cipher)
    } catch (error) {
      const key = await places.journal.setAside(name, value)
      return () => this.emit('set-aside', [{ key, reason: (error as Error).message }])
    }
    const { id } = request
    // It may have been taken before, by an earlier start too, and not been removed from where it was left.
    if (!places.has(id) && !this.#received.has(id)) {
      const sequence = places.journal.takeSequence()
      await places.journal.add(sequence, request)
      this.#received.set(id, { sequence, request, maybeSent: false })
    }
    return () => {
      const entry = this.#received.get(id)
      this.#received.delete(id)
      // One that comes while the program closes is on disk, and the next start's.
      if (entry !== undefined && !this.#isClosing) this.#begin(places, [entry])
    }
  }
}

/** @throws {TunnelError} QUEUE_LOCKED, STORE_FAILED */
async function opened(open: () => Promise<QueueStore>): Promise<QueueStore> {
  try {
    return await open()
  } catch (error) {
    throw asStoreFailed('the queue cannot be opened', error)
  }
}
