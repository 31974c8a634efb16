/** How long each line that was typed took to come back, since the last time it was asked. */
export class EchoDelays {
  /** When each line was typed that has not come back. */
  readonly #outstanding = new Map<number, number>()
  #worstMs = 0
  #sinceMs = performance.now()
  /** When the last line was typed that has come back. */
  #echoedOfMs = 0

  typed(number: number): void {
    this.#outstanding.set(number, performance.now())
  }

  echoed(number: number): void {
    const sinceMs = this.#outstanding.get(number)
    if (sinceMs === undefined) return
    this.#outstanding.delete(number)
    this.#echoedOfMs = sinceMs
    this.#worstMs = Math.max(this.#worstMs, performance.now() - Math.max(sinceMs, this.#sinceMs))
  }

  /** Whether something has come back that was typed after this moment (by `performance.now()`). */
  hasEchoed(afterMs: number): boolean {
    return this.#echoedOfMs > afterMs
  }

  /** The longest wait since the last `take`, in ms; one that goes on counts from then on. */
  take(): number {
    const nowMs = performance.now()
    let worstMs = this.#worstMs
    for (const typedMs of this.#outstanding.values()) {
      worstMs = Math.max(worstMs, nowMs - Math.max(typedMs, this.#sinceMs))
      break
    }
    this.#worstMs = 0
    this.#sinceMs = nowMs
    return worstMs
  }
}
