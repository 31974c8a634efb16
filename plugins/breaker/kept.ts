import type { Records } from '../state/index.ts'
import { type CircuitKey, type Circuits, nameOf } from './circuits.ts'

const NAMESPACE = 'circuit'
/** Read at once at the start. */
const PAGE = 1_000

type Kept = CircuitKey & { untilMs: number }

/**
 * The circuits that are open, in the proxy's state: a restart sends nobody at a machine that is down. Where replicas share
 * the state, one that starts begins with what all of them have found.
 */
export class KeptCircuits {
  readonly #records: Pick<Records, 'put' | 'delete' | 'list'>
  readonly #nowMs: () => number

  /** @param nowMs wall time, which outlives the process */
  constructor(records: Pick<Records, 'put' | 'delete' | 'list'>, nowMs: () => number = Date.now) {
    this.#records = records
    this.#nowMs = nowMs
  }

  /** It has opened, for so long. */
  async opened({ user, owner, machine }: CircuitKey, openMs: number): Promise<void> {
    const kept: Kept = { user, owner, machine, untilMs: this.#nowMs() + openMs }
    await this.#records.put(NAMESPACE, nameOf(kept), { ...kept }, { ttlMs: openMs })
  }

  async closed(key: CircuitKey): Promise<void> {
    await this.#records.delete(NAMESPACE, nameOf(key))
  }

  async restore(circuits: Circuits): Promise<void> {
    for (let after: string | undefined; ; ) {
      const page = await this.#records.list(NAMESPACE, '', PAGE, after)
      for (const [, value] of page) {
        const { untilMs, ...key } = value as unknown as Kept
        circuits.restore(key, untilMs - this.#nowMs())
      }
      after = page.at(-1)?.[0]
      if (page.length < PAGE) return
    }
  }
}
