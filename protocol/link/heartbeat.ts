import type { Clock } from '../clock.ts'

/** What a heartbeat needs of a link. */
export interface HeartbeatTarget {
  ping(): void
  /** Nothing was received for `silentMs`: the link is dead. */
  lost(silentMs: number): void
  /** Whether the link is being read; while it is not, its silence proves nothing. */
  listening(): boolean
  /** Once per beat, for whoever else looks at the clock. */
  beat(nowMs: number): void
}

/** How late a timer may fire before it means that the machine has slept, in ms. */
const SLEPT_MS = 3_000

/** How long before a link counts as dead it is checked once more, in ms: no link is closed after a single check. */
const LAST_LOOK_MS = 10

/**
 * Finds a dead link by its silence. Whatever is received counts, so a link under load sends no PING; after a sleep of
 * the machine the link is asked at once, with `wakeMs` to answer.
 */
export class Heartbeat {
  readonly #clock: Clock
  readonly #target: HeartbeatTarget
  #intervalMs: number
  #timeoutMs: number
  #receivedAtMs: number
  #pingedAtMs: number
  #deadlineMs = Number.POSITIVE_INFINITY
  #timer: unknown
  #dueAtMs = 0
  /** The silence has lasted nearly long enough, and the next look decides. */
  #lastLook = false
  #stopped = false

  constructor(
    target: HeartbeatTarget,
    clock: Clock,
    { intervalMs, timeoutMs }: { intervalMs: number; timeoutMs: number },
  ) {
    this.#target = target
    this.#clock = clock
    this.#intervalMs = intervalMs
    this.#timeoutMs = timeoutMs
    this.#receivedAtMs = clock.now()
    this.#pingedAtMs = this.#receivedAtMs
    this.#schedule()
  }

  set({ intervalMs, timeoutMs }: { intervalMs: number; timeoutMs: number }): void {
    this.#intervalMs = intervalMs
    this.#timeoutMs = timeoutMs
    this.#schedule()
  }

  received(): void {
    this.#receivedAtMs = this.#clock.now()
    this.#deadlineMs = Number.POSITIVE_INFINITY
    this.#lastLook = false
  }

  /** Asks now; without any traffic within `withinMs` the link is dead. */
  probe(withinMs: number): void {
    if (this.#stopped) return
    this.#deadlineMs = Math.min(this.#deadlineMs, this.#clock.now() + withinMs)
    this.#ping()
    this.#schedule()
  }

  stop(): void {
    this.#stopped = true
    this.#clock.clearTimer(this.#timer)
  }

  #ping(): void {
    this.#pingedAtMs = this.#clock.now()
    this.#target.ping()
  }

  #deadMs(): number {
    return Math.min(this.#receivedAtMs + this.#timeoutMs, this.#deadlineMs)
  }

  #schedule(): void {
    if (this.#stopped) return
    this.#clock.clearTimer(this.#timer)
    const pingAtMs = Math.max(this.#receivedAtMs, this.#pingedAtMs) + this.#intervalMs
    this.#dueAtMs = Math.min(pingAtMs, this.#deadMs() - (this.#lastLook ? 0 : LAST_LOOK_MS))
    this.#timer = this.#clock.setTimer(() => this.#beat(), Math.max(1, this.#dueAtMs - this.#clock.now()))
  }

  #beat(): void {
    const now = this.#clock.now()
    if (now - this.#dueAtMs > SLEPT_MS) {
      // Silence while this process slept proves nothing: ask, and allow one timeout from now.
      this.received()
      this.probe(Math.min(SLEPT_MS, this.#timeoutMs))
      return
    }
    const listening = this.#target.listening()
    if (!listening) this.received()
    if (this.#lastLook && now >= this.#deadMs()) {
      this.stop()
      this.#target.lost(now - this.#receivedAtMs)
      return
    }
    // The timers of a process that was busy are due before it has read what came.
    if (now >= this.#deadMs() - LAST_LOOK_MS) this.#lastLook = true
    // A peer that is not listened to hears from us all the same, or it takes us for dead.
    const quietSinceMs = listening ? Math.max(this.#receivedAtMs, this.#pingedAtMs) : this.#pingedAtMs
    if (now - quietSinceMs >= this.#intervalMs) this.#ping()
    this.#target.beat(now)
    this.#schedule()
  }
}
