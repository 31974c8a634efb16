import type { Clock } from '../clock.ts'
import type { WireError } from '../codec/errors.ts'
import type { ResumeHead } from '../codec/heads.ts'
import type { Link } from '../link/link.ts'

/** What is remembered of a stream that is over. */
export interface ClosedStream {
  subject: string | undefined
  /** Undefined: it ended in order, and everything of both sides had arrived here. */
  error: WireError | undefined
  /** What its RESUME would say: its final offsets. */
  resume: ResumeHead
  atMs: number
  /** The link that carried its last word, which may have been lost with it; no reason to keep one that is gone. */
  link: WeakRef<Link> | undefined
}

/**
 * Streams that are over, for the resume window and within a bound, so that a last acknowledgement that was lost with
 * its link can be given again. The oldest are forgotten first, and the table knows since when it remembers all.
 */
export class ClosedStreams {
  readonly #clock: Clock
  readonly #keepMs: number
  readonly #max: number
  readonly #records = new Map<string, ClosedStream>()
  #rememberingSinceMs: number

  constructor(clock: Clock, keepMs: number, max: number) {
    this.#clock = clock
    this.#keepMs = keepMs
    this.#max = max
    this.#rememberingSinceMs = clock.now()
  }

  get size(): number {
    return this.#records.size
  }

  /** Every stream that was opened within this many ms is known here, or was never opened here. */
  get rememberedMs(): number {
    return Math.min(this.#keepMs, this.#clock.now() - this.#rememberingSinceMs)
  }

  add(id: string, record: Omit<ClosedStream, 'atMs'>): void {
    const now = this.#clock.now()
    this.#records.set(id, { ...record, atMs: now })
    for (const [oldest, { atMs }] of this.#records) {
      const expired = now - atMs > this.#keepMs
      if (!expired && this.#records.size <= this.#max) return
      this.#records.delete(oldest)
      if (!expired) this.#rememberingSinceMs = atMs
    }
  }

  get(id: string): ClosedStream | undefined {
    return this.#records.get(id)
  }

  delete(id: string): void {
    this.#records.delete(id)
  }

  /** Those that are young enough to matter still. */
  *recent(): Generator<[string, ClosedStream]> {
    const oldest = this.#clock.now() - this.#keepMs
    for (const entry of this.#records) if (entry[1].atMs >= oldest) yield entry
  }

  clear(): void {
    this.#records.clear()
  }
}
