import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Records } from '../state/index.ts'
import type { Siblings } from './siblings.ts'

const NAMESPACE = 'drain'
const KEY = 'turn'
/** How long a turn outlives a replica that died in it, in ms. */
const TURN_MS = 5_000
/** How often who waits looks, in ms. */
const LOOK_MS = 250

export interface DrainTurnOptions {
  records: Pick<Records, 'create' | 'replace'>
  /** Whose turn it is. */
  holder: string
  /** Others have it under the same name: none of them gives it up for the rest. */
  isShared: boolean
}

/** Replicas that are all told to stop drain one after another, so that whoever leaves the first finds others. */
export class DrainTurn {
  readonly #options: DrainTurnOptions
  #timer: NodeJS.Timeout | undefined

  constructor(options: DrainTurnOptions) {
    this.#options = options
  }

  /** Workers of one host alone leave together. With other hosts they have one turn, which ends by itself after the last. */
  static of(
    records: DrainTurnOptions['records'],
    id: string,
    { enabled, siblings }: { enabled: boolean; siblings?: Pick<Siblings, 'secret'> | undefined },
  ): DrainTurn | undefined {
    if (!enabled) return undefined
    const holder = siblings === undefined ? id : createHash('sha256').update(siblings.secret).digest('hex')
    return new DrainTurn({ records, holder, isShared: siblings !== undefined })
  }

  /** Resolves when it is this replica's turn, or nobody can be asked whose it is, or `over` is aborted. */
  async take(over: AbortSignal): Promise<void> {
    while (!over.aborted) {
      const isOurs = await this.#hold().catch(() => undefined)
      if (isOurs === undefined) return
      if (isOurs) return this.#keep()
      // It rejects when it is cut short, which the loop sees.
      await pause(LOOK_MS, undefined, { signal: over }).catch(() => {})
    }
  }

  async #hold(): Promise<boolean> {
    const { records, holder } = this.#options
    const isOurs = await records.replace(NAMESPACE, KEY, holder, holder, { ttlMs: TURN_MS })
    return isOurs || (await records.create(NAMESPACE, KEY, holder, { ttlMs: TURN_MS }))
  }

  /** Of three tries within a turn one is enough. */
  #keep(): void {
    this.#timer = setInterval(() => void this.#hold().catch(() => {}), TURN_MS / 3).unref()
  }

  /** It is the next one's. Safe to call twice. */
  async release(): Promise<void> {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    this.#timer = undefined
    const { records, holder, isShared } = this.#options
    // Where that fails it ends by itself.
    if (!isShared) await records.replace(NAMESPACE, KEY, holder, holder, { ttlMs: 1 }).catch(() => {})
  }
}
