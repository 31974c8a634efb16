import { monitorEventLoopDelay } from 'node:perf_hooks'

/** How late the event loop is on average, over the last full second. It opens no file, so it works when none can be opened. */
export class EventLoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  readonly #timer: NodeJS.Timeout
  #meanMs = 0

  constructor() {
    this.#histogram.enable()
    this.#timer = setInterval(() => {
      const { mean } = this.#histogram
      // Without a sample it is not a number.
      this.#meanMs = Number.isNaN(mean) ? 0 : Math.max(0, mean / 1e6 - RESOLUTION_MS)
      this.#histogram.reset()
    }, SAMPLE_MS)
    this.#timer.unref()
  }

  get meanMs(): number {
    return this.#meanMs
  }

  close(): void {
    clearInterval(this.#timer)
    this.#histogram.disable()
  }
}

const RESOLUTION_MS = 10
const SAMPLE_MS = 1_000
