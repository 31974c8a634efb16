/**
 * Goes round a map a few entries at a time, so that what is over leaves it without a timer: each call goes on where the
 * one before has stopped, because a map takes longer to find its oldest entry the more have left it.
 */
export class Sweep<Key, Value> {
  readonly #map: Map<Key, Value>
  readonly #count: number
  #entries: Iterator<[Key, Value]>

  /** @param count looked at on each call; more than one for each new entry, so that they go faster than they come */
  constructor(map: Map<Key, Value>, count: number) {
    this.#map = map
    this.#count = count
    this.#entries = map.entries()
  }

  /** The next few, fewer at the end of a round. */
  *some(): Generator<[Key, Value]> {
    for (let looked = 0; looked < this.#count; looked++) {
      const next = this.#entries.next()
      if (next.done) {
        this.#entries = this.#map.entries()
        return
      }
      yield next.value
    }
  }
}
