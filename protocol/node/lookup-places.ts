import { type Clock, systemClock } from '../clock.ts'

/** Lookups of one user at once: names may be slow on purpose, and others have the rest. */
const MAX_OF_USER = 2
/** A lookup that takes longer is slow, in ms: a resolver that knows the name answers within some hundred. */
const SLOW_MS = 1_000
/** How long a user counts as slow after that, in ms. */
const REMEMBERED_MS = 60_000
/** Users that are remembered; the one who was slow the longest ago is forgotten. */
const MAX_REMEMBERED = 10_000

/**
 * Who may have a lookup started. One that has begun holds its place until the resolver has answered, so users whose names are
 * slow have one place each, and a third of all places is never theirs: a few of them together cannot have all.
 */
export class LookupPlaces {
  readonly #max: number
  readonly #maxOfUser: number
  readonly #maxOfSlow: number
  readonly #clock: Pick<Clock, 'now'>
  /** Places taken, by whose they are. */
  readonly #taken = new Map<string, number>()
  /** Until when users are slow. */
  readonly #slow = new Map<string, number>()
  #total = 0

  constructor(max: number, clock: Pick<Clock, 'now'> = systemClock) {
    this.#max = max
    this.#maxOfUser = Math.min(MAX_OF_USER, Math.floor(max / 2))
    this.#maxOfSlow = max - Math.max(1, Math.floor(max / 3))
    this.#clock = clock
  }

  get isFull(): boolean {
    return this.#total >= this.#max
  }

  isFreeFor(whose: string): boolean {
    if (this.isFull) return false
    const taken = this.#taken.get(whose) ?? 0
    if (!this.#isSlow(whose)) return taken < this.#maxOfUser
    return taken === 0 && this.#takenBySlow() < this.#maxOfSlow
  }

  /** Returns what gives the place back. */
  take(whose: string): () => void {
    this.#taken.set(whose, (this.#taken.get(whose) ?? 0) + 1)
    this.#total++
    const sinceMs = this.#clock.now()
    return () => {
      if (this.#clock.now() - sinceMs > SLOW_MS) this.#remember(whose)
      const left = (this.#taken.get(whose) ?? 1) - 1
      if (left === 0) this.#taken.delete(whose)
      else this.#taken.set(whose, left)
      this.#total--
    }
  }

  #isSlow(whose: string): boolean {
    return (this.#slow.get(whose) ?? Number.NEGATIVE_INFINITY) > this.#clock.now()
  }

  #takenBySlow(): number {
    let count = 0
    for (const [whose, taken] of this.#taken) if (this.#isSlow(whose)) count += taken
    return count
  }

  #remember(whose: string): void {
    this.#slow.delete(whose)
    this.#slow.set(whose, this.#clock.now() + REMEMBERED_MS)
    if (this.#slow.size > MAX_REMEMBERED) this.#slow.delete(this.#slow.keys().next().value as string)
  }
}
