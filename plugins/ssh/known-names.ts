import { isMetadata } from '../../protocol/node/addresses.ts'
import { aborted, nameForbidden } from './errors.ts'

/** Asks what a name stands for on the machine. */
export type AskName = (name: string, signal: AbortSignal) => Promise<readonly string[]>

/** How long an answer is used, in ms: connections to one name come many at a time. */
const KEEP_MS = 5_000
/** Answers that are kept at once. */
const MAX_KEPT = 64

interface Asked {
  readonly answer: Promise<readonly string[]>
  readonly abort: AbortController
  readonly untilMs: number
  waiting: number
}

/** What names stand for on one machine, asked once for all who want to know at the same time. */
export class KnownNames {
  readonly #ask: AskName
  readonly #asked = new Map<string, Asked>()

  constructor(ask: AskName) {
    this.#ask = ask
  }

  /** @throws {TunnelError} what the machine says, POLICY_DENIED, ABORTED */
  find(name: string, signal: AbortSignal): Promise<readonly string[]> {
    if (signal.aborted) return Promise.reject(signal.reason)
    const asked = this.#get(name)
    asked.waiting++
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        reject(signal.reason)
        leave()
        if (asked.waiting === 0) this.#giveUp(name, asked)
      }
      const leave = (): void => {
        signal.removeEventListener('abort', onAbort)
        asked.waiting--
      }
      signal.addEventListener('abort', onAbort, { once: true })
      asked.answer.then(resolve, reject).finally(() => {
        if (!signal.aborted) leave()
      })
    })
  }

  #get(name: string): Asked {
    const known = this.#asked.get(name)
    if (known !== undefined && performance.now() < known.untilMs) return known
    const abort = new AbortController()
    const answer = this.#checked(name, abort.signal)
    const asked = { answer, abort, untilMs: performance.now() + KEEP_MS, waiting: 0 }
    this.#asked.delete(name)
    this.#asked.set(name, asked)
    const [oldest] = this.#asked.keys()
    if (this.#asked.size > MAX_KEPT && oldest !== undefined) this.#asked.delete(oldest)
    // What failed is asked again.
    answer.catch(() => this.#forget(name, asked))
    return asked
  }

  /** Whoever answers for the machine is not believed either. */
  async #checked(name: string, signal: AbortSignal): Promise<readonly string[]> {
    const addresses = await this.#ask(name, signal)
    if (addresses.some(isMetadata)) throw nameForbidden(name)
    return addresses
  }

  #giveUp(name: string, asked: Asked): void {
    this.#forget(name, asked)
    asked.abort.abort(aborted(`the question for ${name}`))
  }

  #forget(name: string, asked: Asked): void {
    if (this.#asked.get(name) === asked) this.#asked.delete(name)
  }
}
