import { lookupAll } from '../../protocol/node/connect.ts'
import { bareHost } from '../../protocol/node/way-out.ts'
import type { Json, State } from '../state/index.ts'

/** Where another replica may be. */
export interface Place {
  /** `http(s)://host:port` */
  readonly url: string
  /** Which of its host's addresses is meant. */
  readonly address?: string
  /** Who is there, where that is known. */
  readonly id?: string
}

const NAMESPACE = 'replica'
/** How often a replica says that it is there, in ms, and how long one that has said so is taken for one that is. */
const SAY_MS = 5_000
const RECORD_MS = 16_000

/** Where the others may be: the addresses of the settings, and what replicas say of themselves in the shared state. */
export class Places {
  readonly #urls: readonly string[]
  readonly #state: Pick<State, 'volatile'>
  readonly #lookup: typeof lookupAll
  #timer: NodeJS.Timeout | undefined
  #said: string | undefined
  /** What was found in the shared state last. */
  #found: readonly Place[] = []

  constructor(urls: readonly string[], state: Pick<State, 'volatile'>, lookup = lookupAll) {
    this.#urls = urls
    this.#state = state
    this.#lookup = lookup
  }

  /** Says that this replica is there, until `stop`. It does not matter who does not hear it: it is said again. */
  async announce(id: string, url: string): Promise<void> {
    this.#said = id
    await this.#state.volatile.put(NAMESPACE, id, { url }, { ttlMs: RECORD_MS }).catch(() => {})
    if (this.#said === undefined) return this.#takeBack(id)
    this.#timer = setTimeout(() => void this.announce(id, url), SAY_MS).unref()
  }

  /** Nobody is to look for this replica any more. */
  stop(): void {
    clearTimeout(this.#timer)
    const id = this.#said
    this.#said = undefined
    if (id !== undefined) void this.#takeBack(id)
  }

  /** Where that fails it ends by itself. */
  async #takeBack(id: string): Promise<void> {
    await this.#state.volatile.delete(NAMESPACE, id).catch(() => {})
  }

  /**
   * While the shared state does not answer: those whom it told of last, and who is found by the settings now. Rejects where
   * these name nobody.
   */
  async find(): Promise<readonly Place[]> {
    const named = (await Promise.all(this.#urls.map((url) => this.#addressesOf(url)))).flat()
    try {
      const said = await this.#state.volatile.list(NAMESPACE)
      this.#found = said.flatMap(([id, value]) => placeOf(id, value))
    } catch (error) {
      if (this.#urls.length === 0) throw error
    }
    return [...named, ...this.#found]
  }

  /** A name that stands for several replicas is each of them. */
  async #addressesOf(url: string): Promise<Place[]> {
    const addresses = await this.#lookup(bareHost(new URL(url))).catch(() => [])
    return addresses.map(({ address }) => ({ url, address }))
  }
}

/** Whoever can write there can write anything. */
function placeOf(id: string, value: Json): Place[] {
  const url = typeof value === 'object' && value !== null && !Array.isArray(value) ? value.url : undefined
  return typeof url === 'string' && isReplicaUrl(url) ? [{ id, url }] : []
}

function isReplicaUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}
