import { type Clock, systemClock } from '../../protocol/clock.ts'
import { Neighbour, type NeighbourOptions } from './neighbour.ts'
import type { Place } from './places.ts'

export interface NeighboursOptions extends NeighbourOptions {
  /** All that are known now. */
  find(): Promise<readonly Place[]>
}

/** How often it is looked who is there, in ms. */
const FIND_MS = 2_000
/** How long at most a replica that starts waits for its links to the others, in ms: one of them may be dead. */
const FIRST_LINKS_MS = 3_000

/** The other replicas, dialled for as long as they are known. */
export class Neighbours {
  readonly #options: NeighboursOptions
  readonly #clock: Clock
  readonly #dialled = new Map<string, Neighbour>()
  /** As they were found last; nobody has looked yet where it is undefined. */
  #found: readonly Place[] | undefined
  #startedMs: number | undefined
  #hasStarted = false
  #timer: unknown
  #closed = false

  constructor(options: NeighboursOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  /** Looks now, and again and again. */
  async follow(): Promise<void> {
    this.#startedMs ??= this.#clock.now()
    await this.look()
    if (!this.#closed) this.#timer = this.#clock.setTimer(() => void this.follow(), FIND_MS)
  }

  async look(): Promise<void> {
    if (this.#closed) return
    // What cannot be asked is asked again; those who are known stay.
    const places = await this.#options.find().catch(() => undefined)
    if (places !== undefined && !this.#closed) this.#know(places)
  }

  /** Whether somebody is to be there of whom this replica knows nothing. */
  isMissing(knows: (id: string) => boolean): boolean {
    const { selfId } = this.#options
    return (
      this.#found?.some(({ id }) => id !== undefined && id !== selfId && !knows(id)) === true ||
      [...this.#dialled.values()].some((neighbour) => neighbour.isMissing(knows))
    )
  }

  /** Those of whom somebody has told, by their ids. */
  get ids(): string[] {
    const { selfId } = this.#options
    return (this.#found ?? []).flatMap(({ id }) => (id === undefined || id === selfId ? [] : id))
  }

  /**
   * Since its start it has had a link to each that it knows of, or has tried for long enough. It stays so: what is lost
   * later is made up for.
   * @param knows as of `isMissing`
   */
  isStarted(knows: (id: string) => boolean): boolean {
    if (this.#startedMs === undefined) return false
    this.#hasStarted ||=
      this.#clock.now() - this.#startedMs >= FIRST_LINKS_MS ||
      (this.#found !== undefined && !this.isMissing(knows))
    return this.#hasStarted
  }

  #know(places: readonly Place[]): void {
    this.#found = places
    const keys = new Map(places.map((place) => [`${place.url} ${place.address ?? ''}`, place]))
    for (const [key, place] of keys) {
      if (place.id === this.#options.selfId) continue
      if (!this.#dialled.has(key)) this.#dialled.set(key, new Neighbour(place, this.#options))
    }
    for (const [key, neighbour] of this.#dialled) {
      if (keys.has(key) || neighbour.isLinked) continue
      neighbour.close()
      this.#dialled.delete(key)
    }
  }

  close(): void {
    this.#closed = true
    this.#clock.clearTimer(this.#timer)
    for (const neighbour of this.#dialled.values()) neighbour.close()
    this.#dialled.clear()
  }
}
