import type { Duplex } from 'node:stream'
import type { Machine } from '../../dial/machine.ts'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { asTunnelError } from '../../protocol/codec/errors.ts'
import { greetingMissing, greetingWrong } from './errors.ts'

export type Trial = NonNullable<Machine['tried']>

/** How long a way and the SSH server at its end have for a trial, in ms. */
const TRIAL_MS = 10_000

/**
 * Tries one machine again and again, the whole way to its SSH server's greeting (RFC 4253, section 4.2): a link that
 * stands says nothing about the server behind the agent.
 */
export class Trials {
  readonly #dial: () => Promise<Duplex>
  readonly #everyMs: number
  readonly #clock: Clock
  #timer: unknown
  #isRunning = false
  #last: Trial | undefined

  /** @param everyMs 0: never */
  constructor(dial: () => Promise<Duplex>, everyMs: number, clock: Clock = systemClock) {
    this.#dial = dial
    this.#everyMs = everyMs
    this.#clock = clock
  }

  /** The last one that is over. */
  get last(): Trial | undefined {
    return this.#last
  }

  /** Does nothing where it has started. */
  start(): void {
    if (this.#isRunning || this.#everyMs === 0) return
    this.#isRunning = true
    this.#later()
  }

  /** Safe to call twice. */
  stop(): void {
    this.#isRunning = false
    this.#clock.clearTimer(this.#timer)
  }

  /** Not all machines at the same moment, although they all came back at the same moment. */
  #later(): void {
    const waitMs = this.#everyMs * (0.5 + Math.random() / 2)
    this.#timer = this.#clock.setTimer(() => void this.#try(), waitMs)
  }

  async #try(): Promise<void> {
    const at = new Date().toISOString()
    const sinceMs = this.#clock.now()
    const tookMs = () => Math.round(this.#clock.now() - sinceMs)
    try {
      await this.#greeting()
      this.#last = { at, ok: true, tookMs: tookMs() }
    } catch (error) {
      this.#last = { at, ok: false, code: asTunnelError(error, 'proxy').code, tookMs: tookMs() }
    }
    if (this.#isRunning) this.#later()
  }

  /** Resolves when the SSH server has greeted. */
  #greeting(): Promise<void> {
    return new Promise((resolve, reject) => {
      let isOver = false
      let way: Duplex | undefined
      const over = (error?: unknown): void => {
        if (isOver) return
        isOver = true
        this.#clock.clearTimer(timer)
        way?.on('error', () => {}).destroy()
        if (error === undefined) resolve()
        else reject(error)
      }
      const timer = this.#clock.setTimer(() => over(greetingMissing(TRIAL_MS)), TRIAL_MS)
      this.#dial().then((duplex) => {
        way = duplex
        if (isOver) return void duplex.on('error', () => {}).destroy()
        duplex.on('error', over).once('close', () => over(greetingWrong()))
        // Lines of text may stand before it; that somebody speaks is enough.
        duplex.once('data', () => over())
      }, over)
    })
  }
}
