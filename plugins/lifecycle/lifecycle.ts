/** The phases of a drain, in their order. */
export const DRAIN_PHASES = ['take turns', 'stop accepting', 'hand over', 'wait', 'close'] as const
/**
 * `take turns`: everything goes on as ever until no other replica leaves. `stop accepting`: no new link, no new
 * connection, and every peer is asked to go elsewhere. `hand over`: what the next proxy needs is released (the lock of
 * the state folder). `wait`: what is under way ends, at most until the deadline. `close`: what is left is closed.
 */
export type DrainPhase = (typeof DRAIN_PHASES)[number]

/** What a step of a drain may know of it. */
export interface Drain {
  /** How long it may still take, in ms. */
  readonly leftMs: number
  /** Aborted when the deadline has passed, or somebody hurries: whatever waits stops waiting. */
  readonly over: AbortSignal
}

export type DrainStep = (drain: Drain) => void | Promise<void>

/** The time that a drain has; it can only get shorter. */
class Deadline {
  readonly #over = new AbortController()
  #atMs = Number.POSITIVE_INFINITY
  #timer: NodeJS.Timeout | undefined

  get over(): AbortSignal {
    return this.#over.signal
  }

  shorten(ms: number): void {
    const atMs = performance.now() + ms
    if (atMs >= this.#atMs) return
    this.#atMs = atMs
    this.clear()
    if (ms <= 0) this.#over.abort()
    else this.#timer = setTimeout(() => this.#over.abort(), ms).unref()
  }

  get leftMs(): number {
    return Math.max(0, this.#atMs - performance.now())
  }

  clear(): void {
    clearTimeout(this.#timer)
  }
}

/** How this proxy leaves: phase by phase, and in each phase every plugin does its own. */
export class Lifecycle {
  readonly #steps: { phase: DrainPhase; step: DrainStep }[] = []
  readonly #failed: (error: unknown, phase: DrainPhase) => void
  readonly #deadline = new Deadline()
  #done: Promise<void> | undefined
  #draining = false

  /** @param failed hears of a step that throws; the drain goes on */
  constructor(failed: (error: unknown, phase: DrainPhase) => void) {
    this.#failed = failed
  }

  /** It leaves, or has left; not while it waits for its turn. */
  get draining(): boolean {
    return this.#draining
  }

  /** Within a phase the steps begin in the reverse order of their registration, and are waited for together. */
  onDrain(phase: DrainPhase, step: DrainStep): void {
    this.#steps.unshift({ phase, step })
  }

  /** Begins a drain, or hurries the one that runs: a later call brings its deadline nearer, and never puts it off. */
  drain(deadlineMs: number): Promise<void> {
    this.#deadline.shorten(deadlineMs)
    this.#done ??= this.#run()
    return this.#done
  }

  async #run(): Promise<void> {
    const deadline = this.#deadline
    const drain: Drain = {
      over: deadline.over,
      get leftMs() {
        return deadline.leftMs
      },
    }
    // What is asked of `draining` is true at once where there are no turns to take.
    this.#draining = !this.#steps.some(({ phase }) => phase === 'take turns')
    await undefined
    for (const phase of DRAIN_PHASES) {
      if (phase !== 'take turns') this.#draining = true
      const steps = this.#steps.filter((each) => each.phase === phase)
      await Promise.all(steps.map(({ step }) => this.#take(phase, step, drain)))
    }
    this.#deadline.clear()
  }

  async #take(phase: DrainPhase, step: DrainStep, drain: Drain): Promise<void> {
    try {
      await step(drain)
    } catch (error) {
      this.#failed(error, phase)
    }
  }
}
