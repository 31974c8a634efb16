/** The places for streams on the link: counted here, and waited for in the queue. */
export class LinkPlaces {
  readonly #onFree: () => void
  #capacity = 0
  #taken = 0

  /** @param onFree a place may have become free */
  constructor(onFree: () => void) {
    this.#onFree = onFree
  }

  get capacity(): number {
    return this.#capacity
  }
  get taken(): number {
    return this.#taken
  }

  /** As many as the proxy allows; 0 while there is no link. */
  setCapacity(capacity: number): void {
    this.#capacity = capacity
    this.#onFree()
  }

  /** A place, as what gives it back, once however often it is called; undefined where none is free. */
  take(): (() => void) | undefined {
    if (this.#taken >= this.#capacity) return undefined
    this.#taken++
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      this.#taken--
      this.#onFree()
    }
  }
}
