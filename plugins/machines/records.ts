import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Enrolment } from '../../protocol/codec/hello.ts'
import type { Json, State } from '../state/index.ts'
import { metElsewhere } from './errors.ts'
import { hasChanged, hostKeysOf } from './host-keys.ts'

/** What is kept of a machine that has once been on line: its pinned host keys above all. */
export interface MachineRecord {
  hostKeys: string[]
  /** Told by the agent and another than pinned; they wait for their owner's word. */
  changedKeys: string[]
  /** Pinned until their owner trusted others; an agent that has not looked since may go on telling them. */
  formerKeys: string[]
  sshUser: string
}

/** What of the proxy's state the machines need. */
export type MachineState = Pick<
  State,
  'loss' | 'staleMs' | 'get' | 'put' | 'create' | 'delete' | 'list' | 'watch'
>

const NAMESPACE = 'machine'
/** A record by which a store is known: one that is there no more was lost with all others. */
const MARK = { namespace: 'store', key: 'mark' }
/** Read at once at the start. */
const PAGE = 10_000

/**
 * A machine is its owner's and has a name in that owner's namespace. User ids have no space, whatever is asked for as
 * a name: so no name that somebody makes up reaches into another user's namespace.
 */
export const keyOf = (owner: string, name: string): string => `${owner} ${name}`

/** The records of all machines, in memory and durable behind it. */
export class MachineRecords {
  readonly #state: MachineState
  readonly #owners = new Map<string, Map<string, MachineRecord>>()
  /** Not stored yet: an equal one is confirmed only when it has been stored itself. */
  readonly #pending = new WeakSet<MachineRecord>()
  #mark: Json | undefined

  constructor(state: MachineState) {
    this.#state = state
  }

  /**
   * Reads them all, and keeps up with what other replicas write; returns what ends that.
   * @param forgotten told of each that another replica has deleted
   */
  async follow(
    forgotten: (owner: string, name: string) => void,
    failed: (error: unknown) => void,
  ): Promise<() => void> {
    const stop = this.#state.watch(NAMESPACE, {
      written: (key, value) => this.#learn(key, value),
      missed: () => void this.#readAnew(forgotten).catch(failed),
    })
    this.#mark = await this.#markOfStore()
    for (const [key, value] of await this.#readAll()) this.#learn(key, value)
    return stop
  }

  /** Another one where what replicas share has begun anew; undefined where nobody shares it. */
  async #markOfStore(): Promise<Json | undefined> {
    if (this.#state.staleMs === undefined) return undefined
    const { namespace, key } = MARK
    await this.#state.create(namespace, key, randomUUID())
    return this.#state.get(namespace, key)
  }

  /** All of them: a machine whose pin is not read would be taken for a new one. */
  async #readAll(): Promise<Map<string, Json>> {
    const all = new Map<string, Json>()
    let after: string | undefined
    do {
      const page: [key: string, value: Json][] = await this.#state.list(NAMESPACE, '', PAGE, after)
      for (const [key, value] of page) all.set(key, value)
      after = page.length < PAGE ? undefined : page.at(-1)?.[0]
    } while (after !== undefined)
    return all
  }

  /** A record that is missing was deleted, unless all of them were lost: then what is known here is put back. */
  async #readAnew(forgotten: (owner: string, name: string) => void): Promise<void> {
    const before = [...this.#owners].flatMap(([owner, names]) =>
      [...names].map(([name, record]) => ({ owner, name, record })),
    )
    const mark = await this.#markOfStore()
    const all = await this.#readAll()
    for (const [key, value] of all) this.#learn(key, value)
    const isLost = mark !== this.#mark
    for (const { owner, name, record } of before) {
      if (isLost) await this.#state.create(NAMESPACE, keyOf(owner, name), { ...record })
      // One that was written meanwhile is not the one that was missing.
      if (
        isLost ||
        all.has(keyOf(owner, name)) ||
        this.#pending.has(record) ||
        this.get(owner, name) !== record
      )
        continue
      this.#set(owner, name, undefined)
      forgotten(owner, name)
    }
    this.#mark = mark
  }

  /** What is on its way from here to the state is newer than what comes from there. */
  #learn(key: string, value: Json): void {
    const record = read(value)
    if (record === undefined) return
    const space = key.indexOf(' ')
    const [owner, name] = [key.slice(0, space), key.slice(space + 1)]
    const known = this.get(owner, name)
    if (known !== undefined && (this.#pending.has(known) || isDeepStrictEqual(known, record))) return
    this.#set(owner, name, record)
  }

  /**
   * Where none is known here another replica may have just pinned one: then it is asked for.
   * @throws {TunnelError} STATE_UNAVAILABLE
   */
  async find(owner: string, name: string): Promise<MachineRecord | undefined> {
    const known = this.get(owner, name)
    if (known !== undefined || this.#state.staleMs === undefined) return known
    const value = await this.#state.get(NAMESPACE, keyOf(owner, name))
    if (value !== undefined) this.#learn(keyOf(owner, name), value)
    return this.get(owner, name)
  }

  get(owner: string, name: string): MachineRecord | undefined {
    return this.#owners.get(owner)?.get(name)
  }

  /**
   * Holds at once, and survives a restart when the promise resolves; where it cannot be stored, what was there before
   * holds again. A record that is as it was is not written.
   */
  async put(owner: string, name: string, record: MachineRecord): Promise<void> {
    const before = this.get(owner, name)
    if (before !== undefined && !this.#pending.has(before) && isDeepStrictEqual(before, record)) return
    this.#set(owner, name, record)
    this.#pending.add(record)
    try {
      const key = keyOf(owner, name)
      if (before !== undefined || this.#state.staleMs === undefined)
        await this.#state.put(NAMESPACE, key, { ...record })
      // Of two replicas that meet a new machine at once, one pins its keys.
      else if (!(await this.#state.create(NAMESPACE, key, { ...record }))) throw metElsewhere(name)
      this.#pending.delete(record)
    } catch (error) {
      this.#pending.delete(record)
      if (this.get(owner, name) === record) this.#set(owner, name, before)
      // What the other replica has told of it meanwhile was older than this one.
      if (before === undefined) await this.find(owner, name).catch(() => {})
      throw error
    }
  }

  /** As `put`: where it cannot be deleted, it is there again. */
  async delete(owner: string, name: string): Promise<void> {
    const before = this.get(owner, name)
    this.#set(owner, name, undefined)
    try {
      await this.#state.delete(NAMESPACE, keyOf(owner, name))
    } catch (error) {
      if (this.get(owner, name) === undefined) this.#set(owner, name, before)
      throw error
    }
  }

  owners(): Iterable<string> {
    return this.#owners.keys()
  }

  /** Names of one owner's machines. */
  namesOf(owner: string): string[] {
    return [...(this.#owners.get(owner)?.keys() ?? [])]
  }

  #set(owner: string, name: string, record: MachineRecord | undefined): void {
    const names = this.#owners.get(owner) ?? new Map<string, MachineRecord>()
    if (record === undefined) names.delete(name)
    else names.set(name, record)
    if (names.size === 0) this.#owners.delete(owner)
    else this.#owners.set(owner, names)
  }
}

function isTexts(value: Json | undefined): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function read(value: Json): MachineRecord | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { hostKeys, changedKeys, formerKeys = [], sshUser } = value
  if (!isTexts(hostKeys) || !isTexts(changedKeys) || !isTexts(formerKeys)) return undefined
  return typeof sshUser === 'string' ? { hostKeys, changedKeys, formerKeys, sshUser } : undefined
}

/** What is kept of a machine whose agent enrols it. `isDoubtful`: pins were lost, and it may have had other ones. */
export function enrolledAs(
  enrolment: Enrolment,
  known: MachineRecord | undefined,
  isDoubtful: boolean,
): MachineRecord {
  const { hostKeys: pinned = [], changedKeys = [], formerKeys = [] } = known ?? {}
  const told = hostKeysOf(enrolment.hostKeys)
  const reported = told.filter((key) => !formerKeys.includes(key))
  const { sshUser } = enrolment
  if (pinned.length === 0 && (changedKeys.length > 0 || isDoubtful)) {
    return { hostKeys: [], changedKeys: reported.length > 0 ? reported : changedKeys, formerKeys, sshUser }
  }
  if (pinned.length === 0) return { hostKeys: reported, changedKeys: [], formerKeys, sshUser }
  return { hostKeys: pinned, changedKeys: hasChanged(pinned, reported) ? reported : [], formerKeys, sshUser }
}

/** The keys that a machine shows now. */
export function shownKeys({ hostKeys, changedKeys }: MachineRecord): readonly string[] {
  return changedKeys.length > 0 ? changedKeys : hostKeys
}

const MAX_FORMER_KEYS = 32

/** Its owner has said that the keys which it shows are right. */
export function trusted(record: MachineRecord): MachineRecord {
  const { hostKeys, changedKeys, formerKeys } = record
  if (changedKeys.length === 0) return record
  const former = [...hostKeys, ...formerKeys].filter((key) => !changedKeys.includes(key))
  return { ...record, hostKeys: changedKeys, changedKeys: [], formerKeys: former.slice(0, MAX_FORMER_KEYS) }
}
