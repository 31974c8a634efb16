import type { WorkerMetrics } from '../../plugins/metrics/index.ts'

/** How long workers have to answer, in ms: less than the one that asked waits. */
const ROUND_MS = 1_000
/** At once; the worker that asks beyond it is told of no others. */
const MAX_ROUNDS = 256

interface Round {
  readonly missing: Set<number>
  readonly metrics: WorkerMetrics[]
  readonly done: () => void
}

/** Questions for the metrics of several workers, each answered when all have answered, or at its time. */
export class MetricsRound {
  readonly #rounds = new Map<number, Round>()
  #last = 0

  /** @returns the number that answers have to name */
  begin(workers: readonly number[], answer: (metrics: WorkerMetrics[]) => void): number {
    const number = ++this.#last
    const metrics: WorkerMetrics[] = []
    const done = (): void => {
      clearTimeout(timer)
      this.#rounds.delete(number)
      answer(metrics)
    }
    const timer = setTimeout(done, ROUND_MS).unref()
    const isAsked = workers.length > 0 && this.#rounds.size < MAX_ROUNDS
    if (isAsked) this.#rounds.set(number, { missing: new Set(workers), metrics, done })
    else done()
    return number
  }

  told(number: number, worker: number, metrics: readonly WorkerMetrics[]): void {
    const round = this.#rounds.get(number)
    if (round === undefined || !round.missing.delete(worker)) return
    round.metrics.push(...metrics)
    if (round.missing.size === 0) round.done()
  }

  /** It answers nothing more. */
  left(worker: number): void {
    for (const number of this.#rounds.keys()) this.told(number, worker, [])
  }
}
