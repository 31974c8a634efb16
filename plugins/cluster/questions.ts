import { type Clock, systemClock } from '../../protocol/clock.ts'
import type { Json } from '../state/index.ts'
import type { Message } from './messages.ts'
import type { Peer } from './peer.ts'

/** How long other replicas have for an answer, in ms. */
const ANSWER_MS = 2_000
/** Of one answer: more are left out, and it says so. */
const MAX_ITEMS = 10_000
/** Of the JSON in one frame: half of what it may have. */
const BYTES_PER_FRAME = 32_768

/** What other replicas have. */
export interface Answers {
  readonly items: readonly { readonly replica: string; readonly item: unknown }[]
  /** The ids of those that have not answered in time, or to which there is no link. */
  readonly missing: readonly string[]
  /** The ids of those that have more than one answer may hold: the rest is left out. */
  readonly cut: readonly string[]
  /** How many replicas are known, the one that asked included. */
  readonly replicas: number
}

/** Answers a question of another replica with a list of what can be JSON. */
export type Answerer = (about: Record<string, unknown>) => readonly object[]

/** A question that was put to one replica. */
interface Asked {
  readonly peer: Peer
  readonly items: unknown[]
  over(answer: Answer | undefined): void
}

interface Answer {
  readonly items: readonly unknown[]
  readonly isCut: boolean
}

/** What an operator asks one replica of, and all of them have to answer. Nothing that a stream waits for goes this way. */
export class Questions {
  readonly #peers: () => Iterable<Peer>
  readonly #unlinked: () => readonly string[]
  readonly #failed: (what: string, error: unknown) => void
  readonly #clock: Clock
  readonly #answerers = new Map<string, Answerer>()
  readonly #asked = new Map<number, Asked>()
  #count = 0

  /**
   * @param unlinked those that are known, and cannot be asked
   * @param failed hears of a question to which this replica has no answer by a fault of its own
   */
  constructor(
    peers: () => Iterable<Peer>,
    unlinked: () => readonly string[],
    failed: (what: string, error: unknown) => void,
    clock: Clock = systemClock,
  ) {
    this.#peers = peers
    this.#unlinked = unlinked
    this.#failed = failed
    this.#clock = clock
  }

  /** This replica's answers to a question of others. */
  onQuestion(what: string, answer: Answerer): void {
    this.#answerers.set(what, answer)
  }

  /** Never rejects: who does not answer, or does not know the question, is missing. */
  async ask(what: string, about: Record<string, Json>): Promise<Answers> {
    const peers = [...this.#peers()]
    const answers = await Promise.all(
      peers.map(async (peer) => ({ id: peer.id, answer: await this.#askOne(peer, what, about) })),
    )
    const items = answers.flatMap(({ id, answer }) =>
      (answer?.items ?? []).map((item) => ({ replica: id, item })),
    )
    const silent = answers.filter(({ answer }) => answer === undefined).map(({ id }) => id)
    const cut = answers.filter(({ answer }) => answer?.isCut === true).map(({ id }) => id)
    const unlinked = this.#unlinked()
    return { items, missing: [...silent, ...unlinked], cut, replicas: 1 + peers.length + unlinked.length }
  }

  #askOne(peer: Peer, what: string, about: Record<string, Json>): Promise<Answer | undefined> {
    return new Promise((resolve) => {
      const number = ++this.#count
      const items: unknown[] = []
      const over = (answer: Answer | undefined): void => {
        this.#clock.clearTimer(timer)
        this.#asked.delete(number)
        resolve(answer)
      }
      const timer = this.#clock.setTimer(() => over(undefined), ANSWER_MS)
      this.#asked.set(number, { peer, items, over })
      peer.tell({ is: 'ask', number, what, about })
    })
  }

  heard(peer: Peer, message: Extract<Message, { is: 'ask' | 'answer' }>): void {
    if (message.is === 'ask') return this.#answer(peer, message)
    const asked = this.#asked.get(message.number)
    if (asked?.peer !== peer) return
    const { items } = asked
    items.push(...message.items)
    if (items.length > MAX_ITEMS) asked.over(undefined)
    else if (!message.more) asked.over({ items, isCut: message.cut })
  }

  #answer(peer: Peer, { number, what, about }: Extract<Message, { is: 'ask' }>): void {
    const all = this.#itemsFor(what, about)
    if (all === undefined) return
    const cut = all.length > MAX_ITEMS
    const frames = [...inFrames(all.slice(0, MAX_ITEMS))]
    for (const [index, items] of frames.entries())
      peer.tell({ is: 'answer', number, items, more: index < frames.length - 1, cut })
  }

  #itemsFor(what: string, about: Record<string, unknown>): readonly object[] | undefined {
    try {
      return this.#answerers.get(what)?.(about)
    } catch (error) {
      // It is no reason to end the link, which carries streams.
      this.#failed(what, error)
      return undefined
    }
  }

  /** Its link is over. */
  left(peer: Peer): void {
    for (const asked of [...this.#asked.values()]) if (asked.peer === peer) asked.over(undefined)
  }
}

/** One at least, and as many items in each as it has room for. */
function* inFrames(items: readonly object[]): Generator<object[]> {
  let some: object[] = []
  let bytes = 0
  for (const item of items) {
    const more = Buffer.byteLength(JSON.stringify(item))
    if (some.length > 0 && bytes + more > BYTES_PER_FRAME) {
      yield some
      some = []
      bytes = 0
    }
    some.push(item)
    bytes += more
  }
  yield some
}
