import type { Clock } from '../../protocol/clock.ts'
import type { Cipher } from './cipher.ts'
import { CommitGroup } from './commit-group.ts'
import { asStoreFailed, configInvalid, storeFailed } from './errors.ts'
import { migrated, SCHEMA } from './migrations.ts'
import { decodeRecord, encodeRecord, type StoredRequest } from './record.ts'
import type { QueueStore, StoreChange } from './store.ts'

/** A request in the store. */
export interface Entry {
  /** Its place in the order of acceptance. */
  readonly sequence: number
  readonly request: StoredRequest
  /** It may have been sent before the program ended, and must not be sent twice. */
  readonly maybeSent: boolean
}

/** What was in the store and is no request; it is kept there under another key. */
export interface SetAside {
  readonly key: string
  readonly reason: string
}

const REQUEST = 'r!'
const MARK = 's!'
const META = 'm!'
const ASIDE = 'x!'
const SCHEMA_KEY = `${META}schema`
/** Something that only the right key opens; absent where nothing is encrypted. */
const CHECK_KEY = `${META}check`
const SEQUENCE_DIGITS = 16

const encoder = new TextEncoder()

function nameOf(sequence: number): string {
  return String(sequence).padStart(SEQUENCE_DIGITS, '0')
}

/** The requests in a store: accepted, perhaps sent, answered. Whatever is written is a few changes in one group commit. */
export class Journal {
  readonly #store: QueueStore
  readonly #group: CommitGroup
  readonly #cipher: Cipher | undefined
  /** Told once. */
  readonly #damage: string[]
  #nextSequence = 0
  /** The last mark that was begun is written, or could not be. */
  #lastMark: Promise<void> = Promise.resolve()

  private constructor(store: QueueStore, clock: Clock, cipher: Cipher | undefined) {
    this.#store = store
    this.#group = new CommitGroup(store, clock)
    this.#cipher = cipher
    this.#damage = [...(store.damage ?? [])]
  }

  /**
   * Brings a store of an earlier form to the present one.
   * @throws {TunnelError} STORE_FAILED for one of a later form, CONFIG_INVALID for another key than it is encrypted with
   */
  static async open(store: QueueStore, clock: Clock, cipher?: Cipher): Promise<Journal> {
    const meta = new Map(await entriesOf(store, META))
    const changes: StoreChange[] = []
    const schemaText = meta.get(SCHEMA_KEY)
    const schema = schemaText === undefined ? 0 : Number(new TextDecoder().decode(schemaText))
    if (!(schema <= SCHEMA))
      throw storeFailed(
        'the queue cannot be read',
        new Error(`its form ${schema} is newer than this program`),
      )
    if (schema < SCHEMA) {
      changes.push(...migrated(schema, await entriesOf(store, REQUEST)))
      changes.push({ key: SCHEMA_KEY, value: encoder.encode(String(SCHEMA)) })
    }
    const check = meta.get(CHECK_KEY)
    if (check !== undefined && cipher === undefined)
      throw configInvalid('queue.encryptionKey: the queue on disk is encrypted, and no key was given')
    if (check !== undefined) {
      await cipher?.open(CHECK_KEY, check).catch(() => {
        throw configInvalid('queue.encryptionKey: the queue on disk is encrypted with another key')
      })
    }
    await move(store, changes)
    const journal = new Journal(store, clock, cipher)
    if (check === undefined && cipher !== undefined) await journal.#encryptAll(cipher)
    return journal
  }

  /** All that were accepted and not answered, oldest first. What is no request is set aside. @throws {TunnelError} STORE_FAILED */
  async load(): Promise<{ entries: Entry[]; setAside: SetAside[] }> {
    const entries: Entry[] = []
    const setAside: SetAside[] = this.#damage.splice(0).map((reason) => ({ key: '', reason }))
    const changes: StoreChange[] = []
    await this.#group.settled()
    const found = await entriesOf(this.#store, '')
    const marks = new Set(found.map(([key]) => key).filter((key) => key.startsWith(MARK)))
    for (const [key, value] of found) {
      this.#nextSequence = Math.max(this.#nextSequence, sequenceIn(key) + 1)
      if (key.startsWith(META) || key.startsWith(ASIDE) || key.startsWith(MARK)) continue
      const mark = MARK + key.slice(REQUEST.length)
      try {
        if (!key.startsWith(REQUEST)) throw new Error('its key is not one of a request')
        const record = this.#cipher === undefined ? value : await this.#cipher.open(key, value)
        const request = decodeRecord(record)
        entries.push({ sequence: sequenceIn(key), request, maybeSent: marks.delete(mark) })
      } catch (error) {
        const to = ASIDE + key
        setAside.push({ key: to, reason: (error as Error).message })
        changes.push({ key: to, value }, { key, value: undefined })
      }
    }
    // Of requests that are no longer there.
    for (const key of marks) changes.push({ key, value: undefined })
    await move(this.#store, changes)
    return { entries, setAside }
  }

  /** A place in the order, for a request that is to be added. */
  takeSequence(): number {
    return this.#nextSequence++
  }

  /** Resolves when the request is on disk. @throws {TunnelError} STORE_FAILED, and it is not there */
  add(sequence: number, request: StoredRequest): Promise<void> {
    const key = REQUEST + nameOf(sequence)
    const record = encodeRecord(request)
    const write = (value: Uint8Array) => this.#group.write([{ key, value }])
    return this.#cipher === undefined ? write(record) : this.#cipher.seal(key, record).then(write)
  }

  /**
   * Resolves when the request may be sent, which is never before one that asked earlier. Unless it may be repeated, the
   * disk then knows that it may have been sent. @throws {TunnelError} STORE_FAILED
   */
  sending(sequence: number, mayRepeat: boolean): Promise<void> {
    if (mayRepeat) return this.#lastMark
    const marked = this.#group.write([{ key: MARK + nameOf(sequence), value: new Uint8Array() }])
    this.#lastMark = marked.catch(() => {})
    return marked
  }

  /** Takes the mark of `sending` back, soon: with it the next start would have to say that nobody knows. */
  notSent(sequence: number): void {
    this.#group.writeLater([{ key: MARK + nameOf(sequence), value: undefined }])
  }

  /** The request has its outcome. */
  remove(sequence: number): void {
    const name = nameOf(sequence)
    this.#group.writeLater([
      { key: REQUEST + name, value: undefined },
      { key: MARK + name, value: undefined },
    ])
  }

  /** Keeps what was meant to be a request and is none, under a name of its own. */
  async setAside(name: string, value: Uint8Array): Promise<string> {
    const key = ASIDE + name
    await this.#group.write([{ key, value }])
    return key
  }

  /** Writes what is left to be written, and lets go of the store. */
  async close(): Promise<void> {
    await this.#group.close()
    await this.#store.close()
  }

  /** From the first time that a key is given there is no request in the store that it has not sealed. */
  async #encryptAll(cipher: Cipher): Promise<void> {
    const changes: StoreChange[] = [
      { key: CHECK_KEY, value: await cipher.seal(CHECK_KEY, encoder.encode(CHECK_KEY)) },
    ]
    for (const [key, value] of await entriesOf(this.#store, REQUEST))
      changes.push({ key, value: await cipher.seal(key, value) })
    await move(this.#store, changes)
  }
}

/** @throws {TunnelError} STORE_FAILED */
async function entriesOf(store: QueueStore, prefix: string): Promise<[string, Uint8Array][]> {
  try {
    return await store.entries(prefix)
  } catch (error) {
    throw asStoreFailed('the queue cannot be read', error)
  }
}

/**
 * Changes the form or the place of what is in the store. Not in a group commit, which takes back what has failed: done
 * or not done, this loses nothing. @throws {TunnelError} STORE_FAILED
 */
async function move(store: QueueStore, changes: readonly StoreChange[]): Promise<void> {
  try {
    if (changes.length > 0) await store.write(changes, true)
  } catch (error) {
    throw asStoreFailed('the queue cannot be written to', error)
  }
}

/** -1 for a key without one. */
function sequenceIn(key: string): number {
  const digits = key.match(/^(?:x!)?[rs]!(\d{16})$/)?.[1]
  return digits === undefined ? -1 : Number(digits)
}
