import type { Budget } from './budget.ts'

export interface SendLimits {
  windowBytes: number
  maxWindowBytes: number
  budget?: Budget | undefined
}

/** How much a sender is willing to keep, whatever the peer grants. */
export class Allowance {
  readonly #limits: SendLimits
  #bytes: number
  #borrowed = 0

  constructor(limits: SendLimits) {
    this.#limits = limits
    this.#bytes = limits.windowBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The peer lets us send more than we are willing to keep: keep more, while the user's budget allows. */
  grow(): void {
    const more = Math.min(this.#bytes, this.#limits.maxWindowBytes - this.#bytes)
    if (more <= 0 || this.#limits.budget?.grow(more) === false) return
    this.#borrowed += more
    this.#bytes += more
  }

  /** What was borrowed may be another's, until it is needed again. Returns whether there was any. */
  shrink(): boolean {
    if (this.#borrowed === 0) return false
    this.#limits.budget?.shrink(this.#borrowed)
    this.#bytes -= this.#borrowed
    this.#borrowed = 0
    return true
  }
}
