import { Emitter } from '../../dial/emitter.ts'
import { asTunnelError } from '../../protocol/codec/errors.ts'
import { type ForwardResponse, takeWhole } from '../forward-response.ts'
import { type HeadersLike, headerList } from '../headers.ts'
import { outcomeUnknown, stillQueued } from '../outcome.ts'
import type { HttpRequest, RequestPath } from '../request.ts'
import { sendRequest } from '../sending.ts'
import type { Cipher, SecretKey } from './cipher.ts'
import { configInvalid } from './errors.ts'
import { cipherOf, handedOver } from './handed-over.ts'
import { type Entry, Journal } from './journal.ts'
import type { KeeperEvents, RequestKeeper } from './keeper.ts'
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
  #journal: Journal | undefined
  #opening: Promise<Journal> | undefined
  /** Those that are in this program's hands: their places in the store, by their ids. */
  readonly #held = new Map<string, number>()
  /** Of another program: in the store, and not begun before it can no longer come again. */
  readonly #received = new Map<string, Entry>()
  /** Everything that has no outcome yet. */
  #running = 0
  #onIdle: (() => void) | undefined

  constructor(path: RequestPath, options: KeepOptions) {
    super()
    this.#path = path
    this.#options = options
    this.#cipher = cipherOf(options.encryptionKey)
    this.#cipher.catch(() => {})
  }

  /** Opens the store, and begins with what is in it. @throws {TunnelError} QUEUE_LOCKED, STORE_FAILED, CONFIG_INVALID */
  async start(): Promise<void> {
    const isOpen = this.#journal !== undefined
    const journal = await this.#open()
    // Those that were given up with an earlier connection.
    if (isOpen) await this.#restore(journal)
  }

  /** Keeps the request from its acceptance to its outcome. @throws {TunnelError} */
  send(stored: StoredRequest, http: HttpRequest): Promise<ForwardResponse> {
    // Thousands may wait, and each step of a wait is memory.
    if (this.#journal !== undefined) return this.#send(this.#journal, stored, http)
    return this.#open().then((journal) => this.#send(journal, stored, http))
  }

  #send(journal: Journal, stored: StoredRequest, http: HttpRequest): Promise<ForwardResponse> {
    const sequence = journal.takeSequence()
    const accept = () => journal.add(sequence, stored).then(() => void this.#held.set(stored.id, sequence))
    http.body = stored.body
    http.kept = { isRestored: false, accept, sending: (mayRepeat) => journal.sending(sequence, mayRepeat) }
    const response = sendRequest(this.#path, http, takeWhole(stored.maxBodyBytes))
    return this.#untilOutcome(journal, stored.id, response)
  }

  /** Keeps the request for the next start. @throws {TunnelError} */
  async keep(stored: StoredRequest): Promise<void> {
    const journal = await this.#open()
    this.#running++
    try {
      await journal.add(journal.takeSequence(), stored)
    } finally {
      this.#over()
    }
  }

  /** Waits for what is written, and lets go of the store. Everything has been given an end before. */
  async close(): Promise<void> {
    await this.#opening?.catch(() => {})
    while (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    await this.#journal?.close()
    this.#journal = undefined
  }

  /** One of those that run is over. */
  #over(): void {
    this.#running--
    if (this.#running === 0) this.#onIdle?.()
  }

  /** A request goes from the disk with its outcome, whatever that is; one that is still queued has none. */
  async #untilOutcome(
    journal: Journal,
    id: string,
    response: Promise<ForwardResponse>,
  ): Promise<ForwardResponse> {
    let isOver = true
    this.#running++
    try {
      return await response
    } catch (error) {
      isOver = asTunnelError(error, 'client').code !== 'STILL_QUEUED'
      throw error
    } finally {
      const sequence = this.#held.get(id)
      this.#held.delete(id)
      if (isOver && sequence !== undefined) journal.remove(sequence)
      this.#over()
    }
  }

  #open(): Promise<Journal> {
    if (this.#journal !== undefined) return Promise.resolve(this.#journal)
    this.#opening ??= this.#openStore().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #openStore(): Promise<Journal> {
    const { store: open } = this.#options
    if (open === undefined) throw configInvalid('queue.dir: there is none')
    const cipher = await this.#cipher
    const store = await open()
    let journal: Journal
    try {
      journal = await Journal.open(store, this.#path.clock, cipher)
      await this.#restore(journal)
    } catch (error) {
      await store.close()
      throw error
    }
    this.#journal = journal
    store.receive?.(
      (name, value) => this.#receive(journal, name, value),
      (error) => this.emit('error', error),
    )
    return journal
  }

  async #restore(journal: Journal): Promise<void> {
    const { entries, setAside } = await journal.load()
    if (setAside.length > 0) this.emit('set-aside', setAside)
    const isNew = ({ request }: Entry) => !this.#held.has(request.id)
    this.#begin(journal, entries.filter(isNew))
  }

  /** Tells of them all, and then sends them in their order. */
  #begin(journal: Journal, entries: readonly Entry[]): void {
    if (entries.length === 0) return
    let tell!: () => void
    const told = new Promise<void>((resolve) => {
      tell = resolve
    })
    const restored = entries.map((entry) => {
      const { request, maybeSent, sequence } = entry
      this.#held.set(request.id, sequence)
      const run = (signal: AbortSignal) => {
        const response = told.then(() => this.#sendAgain(journal, entry, signal))
        return this.#untilOutcome(journal, request.id, response)
      }
      return new RestoredRequest(request, maybeSent, run, (error) => this.emit('error', error))
    })
    this.emit('restored', restored)
    tell()
  }

  async #sendAgain(journal: Journal, entry: Entry, signal: AbortSignal): Promise<ForwardResponse> {
    const { request, sequence } = entry
    const { machine, target, method, path, body, priority, idempotent, timeoutMs } = request
    if (entry.maybeSent && !idempotent) throw outcomeUnknown()
    const { headers, expiresAtMs, maxBodyBytes } = request
    const http: HttpRequest = {
      ...{ machine, target, method, path, body, priority, idempotent, timeoutMs, signal },
      headers: [...headers, ...(await this.#credentialsFor(request))],
      expiresInMs: expiresAtMs === undefined ? undefined : Math.max(0, expiresAtMs - Date.now()),
      kept: {
        isRestored: true,
        accept: async () => {},
        sending: (mayRepeat) => journal.sending(sequence, mayRepeat),
      },
    }
    return sendRequest(this.#path, http, takeWhole(maxBodyBytes))
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
  async #receive(journal: Journal, name: string, value: Uint8Array): Promise<() => void> {
    let request: StoredRequest
    try {
      request = await handedOver(value, await this.#cipher)
    } catch (error) {
      const key = await journal.setAside(name, value)
      return () => this.emit('set-aside', [{ key, reason: (error as Error).message }])
    }
    const { id } = request
    // It may have been taken before, by an earlier start too, and not been removed from where it was left.
    if (!this.#held.has(id) && !this.#received.has(id)) {
      const sequence = journal.takeSequence()
      await journal.add(sequence, request)
      this.#received.set(id, { sequence, request, maybeSent: false })
    }
    return () => {
      const entry = this.#received.get(id)
      this.#received.delete(id)
      if (entry !== undefined) this.#begin(journal, [entry])
    }
  }
}
