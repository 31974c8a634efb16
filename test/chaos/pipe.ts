import type { Socket } from 'node:net'

/** What one direction of the relay does to the bytes on it; shared by all its connections, changed while they run. */
export interface LineConditions {
  /** Every byte arrives this much later. */
  delayMs: number
  /** Bytes a second for each connection; Infinity is no limit. */
  bytesPerSecond: number
  /** Nothing is read or forwarded, and nothing is closed. */
  frozen: boolean
  /** Total bytes of this direction after which the relay cuts; undefined is never. */
  cutAtBytes: number | undefined
}

export interface PipeEvents {
  /** This many bytes are about to be forwarded; gives how many of them may be. */
  forwarding(byteCount: number): number
  /** Whether those were the last before the cut. */
  cutIsDue(): boolean
  /** They have left: the relay cuts. */
  reachedCut(): void
}

/** Most bytes that a pipe holds back for delay and throttle before it stops reading. */
const MAX_HELD_BYTES = 4 * 1_048_576
/** A throttled pipe forwards in slices of this length. */
const SLICE_MS = 5

interface Held {
  bytes: Buffer
  dueMs: number
}

/** One direction of one connection. With no fault on, chunks go straight from socket to socket. */
export class Pipe {
  readonly #from: Socket
  readonly #to: Socket
  readonly #conditions: Readonly<LineConditions>
  readonly #events: PipeEvents
  readonly #held: Held[] = []
  #heldBytes = 0
  #timer: NodeJS.Timeout | undefined
  /** When the throttle lets the next byte go. */
  #freeAtMs = 0
  #endDueMs: number | undefined
  #sinkIsFull = false
  #closed = false

  constructor(from: Socket, to: Socket, conditions: Readonly<LineConditions>, events: PipeEvents) {
    this.#from = from
    this.#to = to
    this.#conditions = conditions
    this.#events = events
    from.on('data', (bytes) => this.#take(bytes))
    from.on('end', () => {
      this.#endDueMs = performance.now() + this.#conditions.delayMs
      this.#pump()
    })
    to.on('drain', () => {
      this.#sinkIsFull = false
      this.#pump()
    })
    this.update()
  }

  /** The conditions have changed. */
  update(): void {
    if (this.#closed) return
    if (this.#conditions.frozen) this.#from.pause()
    this.#pump()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#held.length = 0
    this.#heldBytes = 0
  }

  #take(bytes: Buffer): void {
    if (this.#closed) return
    this.#held.push({ bytes, dueMs: performance.now() + this.#conditions.delayMs })
    this.#heldBytes += bytes.length
    this.#pump()
  }

  #pump(): void {
    clearTimeout(this.#timer)
    while (!this.#closed && !this.#conditions.frozen && !this.#sinkIsFull) {
      const next = this.#held[0]
      if (next === undefined) break
      const nowMs = performance.now()
      const waitMs = Math.max(next.dueMs, this.#freeAtMs) - nowMs
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#pump(), Math.max(1, waitMs))
        break
      }
      this.#forward(this.#nextSlice(next, nowMs))
    }
    if (this.#closed || this.#conditions.frozen) return
    if (this.#held.length === 0 && this.#endDueMs !== undefined) this.#end(this.#endDueMs)
    else if (this.#sinkIsFull || this.#heldBytes >= MAX_HELD_BYTES || this.#isThrottled()) this.#from.pause()
    else this.#from.resume()
  }

  /** A throttled pipe holds a slice and no more, so that its source feels the throttle at once. */
  #isThrottled(): boolean {
    return this.#heldBytes > 0 && this.#conditions.bytesPerSecond !== Number.POSITIVE_INFINITY
  }

  #nextSlice(next: Held, nowMs: number): Buffer {
    const perSecond = this.#conditions.bytesPerSecond
    const most =
      perSecond === Number.POSITIVE_INFINITY ? next.bytes.length : Math.ceil((perSecond * SLICE_MS) / 1_000)
    const slice = next.bytes.subarray(0, Math.max(1, most))
    if (slice.length === next.bytes.length) this.#held.shift()
    else next.bytes = next.bytes.subarray(slice.length)
    this.#heldBytes -= slice.length
    this.#freeAtMs = Math.max(nowMs - SLICE_MS, this.#freeAtMs) + (slice.length / perSecond) * 1_000
    return slice
  }

  #forward(slice: Buffer): void {
    const allowed = this.#events.forwarding(slice.length)
    if (!this.#events.cutIsDue()) {
      this.#sinkIsFull = !this.#to.write(slice)
      return
    }
    this.close()
    this.#from.pause()
    const cut = () => this.#events.reachedCut()
    if (allowed > 0 && !this.#to.destroyed) this.#to.write(slice.subarray(0, allowed), cut)
    else cut()
  }

  #end(dueMs: number): void {
    const waitMs = dueMs - performance.now()
    if (waitMs > 0) {
      this.#timer = setTimeout(() => this.#pump(), Math.max(1, waitMs))
    } else {
      this.#closed = true
      this.#to.end()
    }
  }
}
