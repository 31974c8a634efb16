import type { TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import type { Priority } from '../codec/heads.ts'
import { Fifo } from '../fifo.ts'
import type { Link } from '../link/link.ts'
import { Seat } from '../link/seat.ts'
import type { RelayMemory } from './relay-memory.ts'

export interface RelayLegOptions {
  link: Link
  priority: Priority
  memory: RelayMemory
  /** Without it the leg takes the link's next one when its first frame leaves. */
  number?: number | undefined
  /** @throws {TunnelError} when the frame has no place here */
  onFrame(leg: RelayLeg, typeByte: number, frame: Uint8Array): void
  onBroken(leg: RelayLeg, error: TunnelError): void
  onClosed(leg: RelayLeg): void
}

/** What a frame costs beside its bytes: its objects, and its place in the queue. Empty frames are bounded too. */
const FRAME_BYTES = 256

function costOf(frame: Uint8Array): number {
  return frame.length + FRAME_BYTES
}

/** One side of a relay: a number on a link, and what waits to leave there. What a proxy relays is sealed. */
export class RelayLeg extends Seat {
  readonly priority: Priority
  readonly #options: RelayLegOptions
  #started: boolean
  readonly #queue = new Fifo<Uint8Array>()
  #queuedBytes = 0
  /** Before everything else: an acknowledgement means nothing to an opener that has not been resumed. */
  #resumed: Uint8Array | undefined
  /** Only the newest acknowledgement matters. It goes before the queue, which is the other direction's. */
  #window: Uint8Array | undefined
  #leaving = false

  constructor(options: RelayLegOptions) {
    super(options.link, options.number)
    this.priority = options.priority
    this.#options = options
    this.#started = options.number !== undefined
  }

  /** The first frame of this leg; it leaves under the number that it takes then. `from` brought it. */
  start(frame: Uint8Array, from: Link): void {
    this.#started = true
    this.#push(frame, from)
    this.wake()
  }

  /** Passes on a frame that `from` brought, where that may be held for what waits here; its memory is ours, so its number is written over in place. */
  queue(frame: Uint8Array, from: Link | undefined): void {
    if (this.released) return
    const type = frame[0]! & frames.TYPE_MASK
    if (type === FrameType.WINDOW) {
      this.#window = frame
    } else if (type === FrameType.RESUMED) {
      this.#resumed = frame
    } else {
      this.#push(frame, from)
    }
    this.wake()
  }

  #push(frame: Uint8Array, from: Link | undefined): void {
    this.#queue.push(frame)
    this.#queuedBytes += costOf(frame)
    this.#options.memory.add(costOf(frame), from)
  }

  protected next(): Uint8Array | undefined {
    const frame = this.#started ? this.#take() : undefined
    if (frame !== undefined) frames.setStreamNumber(frame, this.number)
    else if (this.#leaving) this.release()
    return frame
  }

  #take(): Uint8Array | undefined {
    // Nothing goes before the first frame of all.
    if (this.numbered) {
      const urgent = this.#resumed ?? this.#window
      if (urgent !== undefined) {
        if (urgent === this.#window) this.#window = undefined
        else this.#resumed = undefined
        return urgent
      }
    }
    const frame = this.#queue.shift()
    if (frame === undefined) return undefined
    this.#queuedBytes -= costOf(frame)
    this.#options.memory.remove(costOf(frame))
    return frame
  }

  protected receive(typeByte: number, frame: Uint8Array): void {
    if (!this.#leaving) this.#options.onFrame(this, typeByte, frame)
  }

  protected failed(error: TunnelError): void {
    this.#options.onBroken(this, error)
  }

  protected closed(): void {
    this.#options.onClosed(this)
  }

  /** RESET, now; what was queued is dropped. */
  reset(error: TunnelError): void {
    if (this.numbered) this.send(frames.encodeJson(FrameType.RESET, this.number, error.toWire()))
    this.release()
  }

  /** SUSPEND, now; what was queued is dropped, and will be replayed. */
  suspend(): void {
    if (this.numbered) this.send(frames.encodeFrame(FrameType.SUSPEND, this.number))
    this.release()
  }

  /** At once where nothing waits: what its peer asks for next may be in the very frame that follows. */
  leaveWhenSent(): void {
    this.#leaving = true
    const isSent = this.#queue.length === 0 && this.#window === undefined && this.#resumed === undefined
    if (isSent) this.release()
    else this.wake()
  }

  override release(): void {
    if (this.released) return
    super.release()
    this.#options.memory.remove(this.#queuedBytes)
    this.#queuedBytes = 0
    this.#queue.clear()
    this.#resumed = undefined
    this.#window = undefined
  }
}
