import type { Clock } from '../clock.ts'

/**
 * How fast the payload of one user may go, in whichever streams and both directions together. What has passed is owed,
 * and time pays for it; while something is owed nobody gets new credit. So bytes are never kept or lost here: whoever
 * sends them waits at the end of its window.
 */
export class Pace {
  readonly #clock: Clock
  readonly #bytesPerSecond: number
  /** Below zero after a rest: as much as goes in a second may go at once. */
  #owedBytes = 0
  #paidAtMs: number
  readonly #waiting = new Set<() => void>()
  #timer: unknown

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock
    this.#bytesPerSecond = bytesPerSecond
    this.#paidAtMs = clock.now()
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond
  }

  /** So many bytes have passed. */
  spend(byteCount: number): void {
    this.#pay()
    this.#owedBytes += byteCount
  }

  /** Whether nothing is owed. Where something is, `go` is called once when that is over, unless `forget` comes before. */
  isClear(go: () => void): boolean {
    this.#pay()
    if (this.#owedBytes <= 0) return true
    this.#waiting.add(go)
    this.#timer ??= this.#clock.setTimer(() => this.#goOn(), this.#leftMs())
    return false
  }

  /** Resolves when nothing is owed. */
  clear(): Promise<void> | undefined {
    let resolve = (): void => {}
    const clear = new Promise<void>((done) => {
      resolve = done
    })
    return this.isClear(resolve) ? undefined : clear
  }

  forget(go: () => void): void {
    this.#waiting.delete(go)
  }

  /** Nobody waits any longer. */
  close(): void {
    this.#owedBytes = 0
    this.#goOn()
  }

  #goOn(): void {
    this.#clock.clearTimer(this.#timer)
    this.#timer = undefined
    this.#pay()
    if (this.#owedBytes > 0) {
      this.#timer = this.#clock.setTimer(() => this.#goOn(), this.#leftMs())
      return
    }
    const ready = [...this.#waiting]
    this.#waiting.clear()
    for (const go of ready) go()
  }

  #leftMs(): number {
    return Math.ceil((this.#owedBytes / this.#bytesPerSecond) * 1_000)
  }

  #pay(): void {
    const now = this.#clock.now()
    const paidBytes = ((now - this.#paidAtMs) / 1_000) * this.#bytesPerSecond
    this.#owedBytes = Math.max(-this.#bytesPerSecond, this.#owedBytes - paidBytes)
    this.#paidAtMs = now
  }
}
