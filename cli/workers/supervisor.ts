import cluster, { type Worker } from 'node:cluster'
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { EXIT } from '../failure.ts'
import type { ToSupervisor, ToWorker } from './messages.ts'
import { MetricsRound } from './metrics-round.ts'

/** Before a worker that has died is replaced, in ms: at first, and after so many deaths in a row. */
const FIRST_DELAY_MS = 100
const MAX_DELAY_MS = 30_000
/** One that has lived so long is not one more that dies at once, in ms. */
const STABLE_MS = 60_000

export interface SupervisorOptions {
  count: number
  /** `cluster.id`, where the settings have one. */
  id: string
  /** A worker is gone that nobody has stopped. */
  lost(number: number, how: string, delayMs: number): void
}

interface Place {
  worker: Worker
  /** It has said that it listens to this process. */
  isHere: boolean
  /** Where it listens for links between replicas. */
  url?: string
}

/**
 * Several processes of one proxy behind one port: whichever is free first takes a connection. What they have to know of
 * each other they say over links between replicas, and by this process. One that dies is replaced.
 */
export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #id: string
  readonly #secret = randomBytes(32).toString('base64')
  readonly #places = new Map<number, Place>()
  readonly #failures = new Map<number, number>()
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #rounds = new MetricsRound()
  /** From then on one that dies is replaced; before it, the start has failed. */
  #isUp = false
  #stopSignal: string | undefined
  #status: number = EXIT.ok
  #ended: () => void = () => {}

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#id = options.id === '' ? `${hostname()}-${process.pid}` : options.id
    // Workers accept by themselves: a connection that Node hands to a worker which has just died hangs, accepted by nobody.
    cluster.schedulingPolicy = cluster.SCHED_NONE
    // As this command was called; a worker sees that it is one.
    cluster.setupPrimary({ exec: process.argv[1] as string, args: process.argv.slice(2) })
  }

  /**
   * Starts the first, and then, when it listens, the others: what cannot work is said once.
   * @returns the port, or the exit status of the worker that could not start
   */
  async start(): Promise<{ port: number } | { status: number }> {
    const first = await this.#fork(1)
    if ('status' in first || this.#stopSignal !== undefined) return first
    const others = Array.from({ length: this.#options.count - 1 }, (_, index) => this.#fork(index + 2))
    const failed = (await Promise.all(others)).find((one) => 'status' in one)
    if (failed !== undefined) return failed
    this.#isUp = true
    for (let number = 1; number <= this.#options.count; number++)
      if (!this.#places.has(number)) this.#replace(number, 'died', 0)
    return first
  }

  /** Resolves when all have ended, with the highest of their statuses. */
  async stop(signal: string): Promise<number> {
    this.#stopSignal = signal
    for (const timer of this.#timers) clearTimeout(timer)
    const ended = new Promise<void>((resolve) => {
      this.#ended = resolve
    })
    if (this.#places.size === 0) return this.#status
    this.tell({ is: 'stop', signal })
    await ended
    return this.#status
  }

  tell(message: ToWorker): void {
    for (const { worker, isHere } of this.#places.values()) if (isHere) send(worker, message)
  }

  /** Resolves when it listens, or has ended before. */
  #fork(number: number): Promise<{ port: number } | { status: number }> {
    const worker = cluster.fork()
    const place: Place = { worker, isHere: false }
    this.#places.set(number, place)
    const startedAtMs = performance.now()
    return new Promise((resolve) => {
      worker.once('listening', ({ port }) => resolve({ port }))
      worker.on('message', (message: ToSupervisor) => this.#heard(number, place, message))
      const over = (status: number, how: string): void => {
        if (this.#places.get(number) !== place) return
        this.#places.delete(number)
        this.#rounds.left(worker.id)
        resolve({ status })
        this.#tellPlaces()
        if (this.#isUp && this.#stopSignal === undefined)
          return this.#replace(number, how, performance.now() - startedAtMs)
        this.#status = Math.max(this.#status, status)
        if (this.#places.size === 0) this.#ended()
      }
      worker.once('exit', (code, signal) => over(code ?? EXIT.failure, signal ?? `status ${code}`))
      worker.on('error', (error) => {
        // Of a process that there is, its exit tells.
        if (worker.process.pid === undefined) over(EXIT.failure, error.message)
      })
    })
  }

  #replace(number: number, how: string, livedMs: number): void {
    const failures = livedMs > STABLE_MS ? 0 : (this.#failures.get(number) ?? 0)
    this.#failures.set(number, failures + 1)
    const delayMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** failures)
    this.#options.lost(number, how, delayMs)
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      try {
        void this.#fork(number)
      } catch (error) {
        // No descriptor is left, or no process may be made.
        this.#replace(number, (error as Error).message, 0)
      }
    }, delayMs)
    this.#timers.add(timer)
  }

  #heard(number: number, place: Place, message: ToSupervisor): void {
    const { worker } = place
    switch (message.is) {
      case 'here':
        place.isHere = true
        send(worker, { is: 'you', number, id: this.#idOf(number), secret: this.#secret })
        if (this.#stopSignal !== undefined) send(worker, { is: 'stop', signal: this.#stopSignal })
        else this.#tellPlaces()
        return
      case 'listens':
        place.url = message.url
        this.#tellPlaces()
        return
      case 'metrics':
        this.#rounds.told(message.id, worker.id, message.metrics)
        return
      case 'ask-metrics': {
        const others = [...this.#places.values()]
          .filter((one) => one.isHere && one !== place)
          .map((one) => one.worker)
        const round = this.#rounds.begin(
          others.map(({ id }) => id),
          (metrics) => send(worker, { is: 'all-metrics', id: message.id, metrics }),
        )
        for (const other of others) send(other, { is: 'tell-metrics', id: round })
      }
    }
  }

  #tellPlaces(): void {
    const places = [...this.#places].flatMap(([number, { url }]) =>
      url === undefined ? [] : { id: this.#idOf(number), url },
    )
    this.tell({ is: 'places', places })
  }

  #idOf(number: number): string {
    return `${this.#id}-${number}`
  }
}

/** One that has just died hears nothing, which its exit tells. */
function send(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, () => {})
}
