import type { Clock } from '../../protocol/clock.ts'
import { copyFrame } from '../../protocol/codec/frames.ts'
import type { Transport, TransportReceiver } from '../../protocol/link/transport.ts'

export interface MemoryPairOptions {
  clock: Clock
  /** One way, in ms, asked for each message; order is kept whatever it answers. @default 0 */
  latencyMs?: () => number
}

/** Two ends of a connection in memory, which can be cut in mid-flight and frozen. */
export class MemoryPair {
  readonly a: MemoryTransport
  readonly b: MemoryTransport

  constructor({ clock, latencyMs = () => 0 }: MemoryPairOptions) {
    this.a = new MemoryTransport(clock, latencyMs)
    this.b = new MemoryTransport(clock, latencyMs)
    this.a.peer = this.b
    this.b.peer = this.a
  }

  /** The connection is gone for both; what is in flight is lost. */
  cut(): void {
    this.a.drop(1006, '')
    this.b.drop(1006, '')
  }

  /** Nothing gets through any more, and nobody is told. */
  freeze(): void {
    this.a.frozen = true
    this.b.frozen = true
  }
}

export class MemoryTransport implements Transport {
  receiver: TransportReceiver | undefined
  peer: MemoryTransport | undefined
  frozen = false
  bufferedBytes = 0
  unsentFrames = 0
  closed = false
  /** Everything ever sent, when someone wants to look. */
  onSend: ((frame: Uint8Array) => void) | undefined
  readonly #clock: Clock
  readonly #latencyMs: () => number
  #arrivalMs = 0
  #paused = false
  #waiting: (() => void)[] = []
  /** Set while its network takes nothing: what is sent waits, and counts as unsent. */
  #stalled: (() => void)[] | undefined

  constructor(clock: Clock, latencyMs: () => number) {
    this.#clock = clock
    this.#latencyMs = latencyMs
  }

  send(frame: Uint8Array): void {
    if (this.closed) return
    this.onSend?.(frame)
    this.bufferedBytes += frame.length
    this.unsentFrames++
    const leave = (): void =>
      this.#deliver(() => {
        // As a socket does: until it has left, it is the sender's memory, and whoever writes there changes it.
        const copy = copyFrame(frame)
        this.bufferedBytes -= copy.length
        this.unsentFrames--
        this.peer?.arrive(() => this.peer?.receiver?.message(copy))
        this.receiver?.drained()
      })
    if (this.#stalled === undefined) leave()
    else this.#stalled.push(leave)
  }

  /** Takes nothing from now on, until `unstall`. */
  stall(): void {
    this.#stalled ??= []
  }

  unstall(): void {
    const stalled = this.#stalled ?? []
    this.#stalled = undefined
    for (const leave of stalled) leave()
  }

  /** Sends a text message, which no correct party does. */
  sendText(): void {
    this.#deliver(() => this.peer?.receiver?.text())
  }

  #deliver(arrive: () => void): void {
    this.#arrivalMs = Math.max(this.#arrivalMs, this.#clock.now() + this.#latencyMs())
    const waitMs = Math.max(0, this.#arrivalMs - this.#clock.now())
    this.#clock.setTimer(() => {
      if (this.closed || this.frozen) return
      arrive()
    }, waitMs)
  }

  arrive(deliver: () => void): void {
    if (this.closed) return
    if (this.#paused) this.#waiting.push(deliver)
    else deliver()
  }

  close(code: number, reason: string): void {
    this.#deliver(() => {
      this.peer?.drop(code, reason)
      this.drop(code, reason)
    })
  }

  terminate(): void {
    if (this.closed) return
    if (!this.frozen) {
      const { peer } = this
      this.#clock.setTimer(() => peer?.drop(1006, ''), this.#latencyMs())
    }
    this.drop(1006, '')
  }

  drop(code: number, reason: string): void {
    if (this.closed) return
    this.closed = true
    this.bufferedBytes = 0
    this.#waiting = []
    this.receiver?.closed(code, reason)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    const waiting = this.#waiting
    this.#waiting = []
    for (const deliver of waiting) this.arrive(deliver)
  }
}
