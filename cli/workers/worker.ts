import cluster from 'node:cluster'
import type { Siblings } from '../../plugins/cluster/siblings.ts'
import type { WorkerMetrics } from '../../plugins/metrics/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { Sibling, ToSupervisor, ToWorker } from './messages.ts'

/** How long the metrics of the others are waited for, in ms. */
const METRICS_MS = 2_000
/** Readings of metrics at once, at most. */
const MAX_ASKED = 64

/** What a worker does when its supervisor says so. */
export interface Orders {
  hurry(): void
  reload(): void
  debug(): void
  metrics(): Promise<WorkerMetrics[]>
}

/** Whether this process is a worker of `tunnel server --workers`. */
export function isWorker(): boolean {
  return cluster.isWorker
}

/** One of several processes behind one port, as it knows itself and its supervisor. */
export class WorkerSide implements Siblings {
  readonly number: number
  readonly id: string
  readonly secret: string
  /** Why it is to end: a signal that the supervisor or this process had, or the supervisor is gone. */
  readonly stopped: Promise<string>
  #places: readonly Sibling[] = []
  #placesChanged: () => void = () => {}
  #orders: Orders | undefined
  #asked = 0
  readonly #waiting = new Map<number, (metrics: WorkerMetrics[] | undefined) => void>()

  /** Says who this worker is, once its supervisor has told it. */
  static async join(): Promise<WorkerSide> {
    const first = await new Promise<ToWorker>((resolve) => {
      process.once('message', resolve)
      tell({ is: 'here' })
    })
    if (first.is !== 'you') throw new Error(`the supervisor began with ${first.is}`)
    return new WorkerSide(first)
  }

  private constructor({ number, id, secret }: ToWorker & { is: 'you' }) {
    this.number = number
    this.id = id
    this.secret = secret
    this.stopped = new Promise((resolve) => {
      process.on('message', (message: ToWorker) => {
        if (message.is === 'stop') resolve(message.signal)
        else this.#heard(message)
      })
      process.once('disconnect', () => resolve('the supervisor is gone'))
      process.once('SIGTERM', () => resolve('SIGTERM'))
    })
    // A terminal sends these to every process of the command: the supervisor says what comes of them.
    for (const signal of ['SIGINT', 'SIGHUP', 'SIGUSR2'] as const) process.on(signal, () => {})
  }

  /** Nothing more is heard, so that the process can end. */
  leave(): void {
    if (process.connected) process.disconnect()
  }

  follow(orders: Orders): void {
    this.#orders = orders
  }

  places(): readonly Sibling[] {
    return this.#places
  }

  onPlaces(listener: () => void): void {
    this.#placesChanged = listener
  }

  listensAt(url: string): void {
    tell({ is: 'listens', url })
  }

  /**
   * Metrics of the other workers, of all or of none: a sum without one of them is lower than the last one, which a reader
   * takes for a restart.
   * @throws {TunnelError} TIMEOUT
   */
  othersMetrics(): Promise<WorkerMetrics[]> {
    if (this.#waiting.size >= MAX_ASKED || !process.connected) return Promise.reject(metricsLate())
    const id = ++this.#asked
    return new Promise((resolve, reject) => {
      const done = (metrics: WorkerMetrics[] | undefined): void => {
        clearTimeout(timer)
        this.#waiting.delete(id)
        if (metrics === undefined) reject(metricsLate())
        else resolve(metrics)
      }
      const timer = setTimeout(() => done(undefined), METRICS_MS).unref()
      this.#waiting.set(id, done)
      tell({ is: 'ask-metrics', id })
    })
  }

  #heard(message: Exclude<ToWorker, { is: 'stop' }>): void {
    switch (message.is) {
      case 'places':
        this.#places = message.places.filter(({ id }) => id !== this.id)
        this.#placesChanged()
        return
      case 'all-metrics':
        this.#waiting.get(message.id)?.(message.metrics)
        return
      case 'tell-metrics':
        void this.#tellMetrics(message.id)
        return
      case 'you':
        return
      default:
        this.#orders?.[message.is]()
    }
  }

  /** One that starts has counted nothing. Those that cannot be read are not told, and the reader hears that they are missing. */
  async #tellMetrics(id: number): Promise<void> {
    try {
      tell({ is: 'metrics', id, metrics: (await this.#orders?.metrics()) ?? [] })
    } catch {
      // As said above.
    }
  }
}

/** A supervisor that is gone needs to hear nothing. */
function tell(message: ToSupervisor): void {
  if (process.connected) process.send?.(message, () => {})
}

function metricsLate(): TunnelError {
  return new TunnelError('TIMEOUT', 'another worker did not tell its metrics in time', { hop: 'proxy' })
}
