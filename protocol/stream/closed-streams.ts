import type { Clock } from '../clock.ts'
import type { WireError } from '../codec/errors.ts'
import type { ResumeHead } from '../codec/heads.ts'
import type { Link } from '../link/link.ts'
import { Recent } from '../recent.ts'

/** What is remembered of a stream that is over. */
export interface ClosedStream {
  subject: string | undefined
  /** Undefined: it ended in order, and everything of both sides had arrived here. */
  error: WireError | undefined
  /** What its RESUME would say: its final offsets. */
  resume: ResumeHead
  /** The link that carried its last word, which may have been lost with it; no reason to keep one that is gone. */
  link: WeakRef<Link> | undefined
}

/**
 * Streams that are over, for the resume window and within a bound, so that a last acknowledgement that was lost with
 * its link can be given again. The table knows since when it remembers all.
 */
export class ClosedStreams {
  readonly #clock: Clock
  readonly #keepMs: number
  readonly #records: Recent<ClosedStream>
  #rememberingSinceMs: number

  constructor(clock: Clock, keepMs: number, max: number) {
    this.#clock = clock
    this.#keepMs = keepMs
    this.#records = new Recent(clock, keepMs, max)
    this.#rememberingSinceMs = clock.now()
  }

  get size(): number {
    return this.#records.size
  }

  /** Every stream that was opened within this many ms is known here, or was never opened here. */
  get rememberedMs(): number {
    return Math.min(this.#keepMs, this.#clock.now() - this.#rememberingSinceMs)
  }

  add(record: ClosedStream): void {
    this.#rememberingSinceMs = this.#records.add(record.resume.id, record) ?? this.#rememberingSinceMs
  }

  get(id: string): ClosedStream | undefined {
    return this.#records.get(id)
  }

  /** All of them. */
  values(): Generator<ClosedStream> {
    return this.#records.values()
  }

  clear(): void {
    this.#records.clear()
  }
}
