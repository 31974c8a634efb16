import type { Json, State } from '../state/index.ts'

/** What is kept of a machine that has once been on line: its pinned host keys above all. */
export interface MachineRecord {
  hostKeys: string[]
  /** Told by the agent and another than pinned; they wait for their owner's word. */
  changedKeys: string[]
  /** Pinned until their owner trusted others; an agent that has not looked since may go on telling them. */
  formerKeys: string[]
  sshUser: string
}

const NAMESPACE = 'machine'
/** Read at once at the start. */
const PAGE = 10_000

/**
 * A machine is its owner's and has a name in that owner's namespace. User ids have no space, whatever is asked for as
 * a name: so no name that somebody makes up reaches into another user's namespace.
 */
export const keyOf = (owner: string, name: string): string => `${owner} ${name}`

/** The records of all machines, in memory and durable behind it. */
export class MachineRecords {
  readonly #state: State
  readonly #records = new Map<string, MachineRecord>()

  constructor(state: State) {
    this.#state = state
  }

  async load(): Promise<void> {
    // All of them: a machine whose pin is not read would be taken for a new one.
    let after: string | undefined
    do {
      const page: [key: string, value: Json][] = await this.#state.list(NAMESPACE, '', PAGE, after)
      for (const [key, value] of page) {
        const record = read(value)
        if (record !== undefined) this.#records.set(key, record)
      }
      after = page.length < PAGE ? undefined : page.at(-1)?.[0]
    } while (after !== undefined)
  }

  get(owner: string, name: string): MachineRecord | undefined {
    return this.#records.get(keyOf(owner, name))
  }

  /** Holds at once, and survives a restart when the promise resolves. */
  async put(owner: string, name: string, record: MachineRecord): Promise<void> {
    this.#records.set(keyOf(owner, name), record)
    await this.#state.put(NAMESPACE, keyOf(owner, name), { ...record })
  }

  async delete(owner: string, name: string): Promise<void> {
    this.#records.delete(keyOf(owner, name))
    await this.#state.delete(NAMESPACE, keyOf(owner, name))
  }

  /** Names of one owner's machines. */
  namesOf(owner: string): string[] {
    const prefix = keyOf(owner, '')
    const names: string[] = []
    for (const key of this.#records.keys()) {
      if (key.startsWith(prefix)) names.push(key.slice(prefix.length))
    }
    return names
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
