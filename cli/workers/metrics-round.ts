import type { WorkerMetrics } from '../../plugins/metrics/index.ts'

/** How long workers have to answer, in ms: less than the one that asked waits. */
const ROUND_MS = 1_000
/** At once. */
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

  /**
   * @param answer is given the metrics of all that are still there, or undefined where one did not answer in time
   * @returns the number that answers have to name
   */
  begin(workers: readonly number[], answer: (metrics: WorkerMetrics[] | undefined) => void): number {
    const number = ++this.#last
    if (this.#rounds.size >= MAX_ROUNDS) {
      answer(undefined)
      return number
    }
    const metrics: WorkerMetrics[] = []
    const end = (told: WorkerMetrics[] | undefined): void => {
      clearTimeout(timer)
      this.#rounds.delete(number)
      answer(told)
    }
    const timer = setTimeout(() => end(undefined), ROUND_MS).unref()
    this.#rounds.set(number, { missing: new Set(workers), metrics, done: () => end(metrics) })
    if (workers.length === 0) end(metrics)
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
