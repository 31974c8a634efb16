import { monitorEventLoopDelay } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { HealthOptions } from './options.ts'

type Limits = Pick<HealthOptions, 'maxLagMs' | 'maxHeapShare' | 'maxRssBytes'>

const RESOLUTION_MS = 10
const SAMPLE_MS = 1_000
/** What of a control group's memory the process may have where no limit is configured. */
const SHARE_OF_GROUP = 0.9

/**
 * How busy this process is, as of the last second. It works when no file can be opened: `@fastify/under-pressure` ends
 * the process then, because its timer reads /proc and nobody can catch what it throws.
 */
export class Load {
  readonly #limits: Limits
  readonly #maxRssBytes: number
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  readonly #timer: NodeJS.Timeout
  #lagMs = 0
  #heapShare = 0
  #rssBytes = 0

  /** @param limits read at each use, so that they may change */
  constructor(limits: Limits) {
    this.#limits = limits
    this.#maxRssBytes = memoryOfGroup() * SHARE_OF_GROUP
    this.#histogram.enable()
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS).unref()
    this.#sample()
  }

  #sample(): void {
    const { mean } = this.#histogram
    // Without a sample it is not a number.
    this.#lagMs = Number.isNaN(mean) ? 0 : Math.max(0, mean / 1e6 - RESOLUTION_MS)
    this.#histogram.reset()
    const { used_heap_size: used, heap_size_limit: most } = getHeapStatistics()
    this.#heapShare = used / most
    try {
      this.#rssBytes = process.memoryUsage.rss()
    } catch {
      // No descriptor is left to read it with: what was read last holds.
    }
  }

  /** How late the event loop was on average, in ms. */
  get lagMs(): number {
    return this.#lagMs
  }

  /** Whether the event loop is late. */
  get isLate(): boolean {
    return this.#lagMs > this.#limits.maxLagMs
  }

  /** Whether memory runs out. */
  get isFull(): boolean {
    const { maxHeapShare, maxRssBytes = this.#maxRssBytes } = this.#limits
    return this.#heapShare > maxHeapShare || this.#rssBytes > maxRssBytes
  }

  close(): void {
    clearInterval(this.#timer)
    this.#histogram.disable()
  }
}

/** In bytes; infinite where there is no limit. */
function memoryOfGroup(): number {
  const bytes = process.constrainedMemory()
  // Without a limit it is 0, or on some kernels an address space.
  return bytes > 0 && bytes < Number.MAX_SAFE_INTEGER ? bytes : Number.POSITIVE_INFINITY
}
