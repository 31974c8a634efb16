import { type Clock, systemClock } from '../../protocol/clock.ts'
import { Fifo } from '../../protocol/fifo.ts'
import { newcomerGone, tooManyNewcomers } from './errors.ts'

/** How far a newcomer is: it has asked for a link, its user may have one, or it has said HELLO on it. */
type Stage = 'arrived' | 'known' | 'greeted'
/** Whom each turn is for, in this order: what was begun is finished before more is begun. */
const ORDER = ['left', 'greeted', 'known', 'arrived'] as const

/** In each turn of the event loop, of some 0.3 ms each. */
export const STEPS_PER_TURN = 6
/** How long somebody may wait to be looked at, in ms: less than an upgrade may be pending. */
const PATIENCE_MS = 8_000
/** Whoever has waited in vain comes again no sooner, in ms. */
const MIN_RETRY_MS = 1_000

/**
 * What those cause who come and go through one door: a few steps in each turn of the event loop. When thousands come or go at
 * once, Node would do all that this asks for before it reads again what those send who are here already: a second in which
 * nobody's keystroke is echoed.
 */
export class Turns {
  readonly #clock: Pick<Clock, 'now'>
  /** As many as there are connections at most (`server.maxSockets`). */
  readonly #waiting: Readonly<Record<Stage | 'left', Fifo<() => void>>> = {
    left: new Fifo(),
    arrived: new Fifo(),
    known: new Fifo(),
    greeted: new Fifo(),
  }
  #isRunning = false
  #steps = 0

  constructor(clock: Pick<Clock, 'now'> = systemClock) {
    this.#clock = clock
  }

  /**
   * Resolves when this newcomer is looked at.
   * @throws {TunnelError} OVERLOADED when it has waited too long, ABORTED when it has gone
   */
  async arrive(socket: { readonly destroyed: boolean }): Promise<void> {
    const sinceMs = this.#clock.now()
    await this.next('arrived')
    if (socket.destroyed) throw newcomerGone()
    const waitedMs = this.#clock.now() - sinceMs
    // As many may still wait as were let in meanwhile: those are told the same, and come again spread over as long.
    if (waitedMs > PATIENCE_MS) throw tooManyNewcomers(Math.round(MIN_RETRY_MS + Math.random() * waitedMs))
  }

  /** Resolves when it is this newcomer's turn. */
  next(stage: Stage): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting[stage].push(resolve)
      this.#run()
    })
  }

  /** Calls `go`, which tells that a connection has ended: at once, or where many end in one turn, when it is its turn. */
  readonly leave = (go: () => void): void => {
    if (this.#isRunning) return this.#waiting.left.push(go)
    this.#run()
    go()
  }

  #run(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    setImmediate(this.#begin)
  }

  readonly #begin = (): void => {
    this.#steps = 0
    this.#step()
  }

  readonly #step = (): void => {
    let go: (() => void) | undefined
    for (const who of ORDER) {
      go = this.#waiting[who].shift()
      if (go !== undefined) break
    }
    this.#isRunning = go !== undefined
    if (go === undefined) return
    try {
      go()
    } finally {
      // Behind all that this one does now.
      queueMicrotask(() => process.nextTick(this.#goOn))
    }
  }

  readonly #goOn = (): void => {
    this.#steps++
    if (this.#steps < STEPS_PER_TURN) this.#step()
    else setImmediate(this.#begin)
  }
}
