import { asTunnelError, type TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import type { Priority } from '../codec/heads.ts'
import type { LinkChannel } from '../link/channels.ts'
import type { Link } from '../link/link.ts'
import type { RelayOptions } from './relay.ts'

export interface RelayLegHandlers {
  /** @throws {TunnelError} when the frame has no place here */
  frame(leg: RelayLeg, typeByte: number, frame: Uint8Array): void
  broken(leg: RelayLeg, error: TunnelError): void
  closed(leg: RelayLeg): void
}

/** What a frame costs beside its bytes: its objects, and its place in the queue. Empty frames are bounded too. */
const FRAME_BYTES = 256

function costOf(frame: Uint8Array): number {
  return frame.length + FRAME_BYTES
}

/** One side of a relay: a number on a link, and what waits to leave there. */
export class RelayLeg implements LinkChannel {
  readonly link: Link
  readonly priority: Priority
  /** What a proxy relays is sealed. */
  readonly compressible = false
  readonly #options: RelayOptions
  readonly #handlers: RelayLegHandlers
  #number: number | undefined
  #started: boolean
  #queue: Uint8Array[] = []
  #head = 0
  #queuedBytes = 0
  /** Before everything else: an acknowledgement means nothing to an opener that has not been resumed. */
  #resumed: Uint8Array | undefined
  /** Only the newest acknowledgement matters. It goes before the queue, which is the other direction's. */
  #window: Uint8Array | undefined
  #leaving = false
  #gone = false

  /** Without `number` the leg takes the link's next one when its first frame leaves. */
  constructor(
    link: Link,
    priority: Priority,
    options: RelayOptions,
    number: number | undefined,
    handlers: RelayLegHandlers,
  ) {
    this.link = link
    this.priority = priority
    this.#options = options
    this.#number = number
    this.#started = number !== undefined
    this.#handlers = handlers
    link.join(this)
    if (number !== undefined) link.bind(number, this)
  }

  /** The first frame of this leg; it leaves under the number that it takes then. `from` brought it. */
  start(frame: Uint8Array, from: Link): void {
    this.#started = true
    this.#push(frame, from)
    this.link.wake(this)
  }

  /** Passes on a frame that `from` brought; its memory is ours, so its number is written over in place. */
  queue(frame: Uint8Array, from: Link): void {
    if (this.#gone) return
    const type = frame[0]! & frames.TYPE_MASK
    if (type === FrameType.WINDOW) {
      this.#window = frame
    } else if (type === FrameType.RESUMED) {
      this.#resumed = frame
    } else {
      this.#push(frame, from)
    }
    this.link.wake(this)
  }

  #push(frame: Uint8Array, from: Link): void {
    this.#queue.push(frame)
    this.#queuedBytes += costOf(frame)
    this.#options.memory.add(costOf(frame), from)
  }

  nextFrame(): Uint8Array | undefined {
    if (this.#gone) return undefined
    const frame = this.#next()
    if (frame === undefined && this.#leaving) this.leave()
    return frame
  }

  #next(): Uint8Array | undefined {
    if (!this.#started) return undefined
    // Nothing goes before the first frame of all.
    let frame = this.#number === undefined ? undefined : (this.#resumed ?? this.#window)
    if (this.#number === undefined) {
      this.#number = this.link.takeNumber()
      this.link.bind(this.#number, this)
    }
    if (frame !== undefined) {
      if (frame === this.#window) this.#window = undefined
      else this.#resumed = undefined
    } else {
      frame = this.#queue[this.#head]
      if (frame === undefined) return undefined
      this.#queue[this.#head++] = undefined as unknown as Uint8Array
      this.#queuedBytes -= costOf(frame)
      this.#options.memory.remove(costOf(frame))
      if (this.#head === this.#queue.length) {
        this.#queue = []
        this.#head = 0
      } else if (this.#head > 256) {
        this.#queue = this.#queue.slice(this.#head)
        this.#head = 0
      }
    }
    frames.setStreamNumber(frame, this.#number)
    return frame
  }

  frame(typeByte: number, frame: Uint8Array): void {
    if (this.#gone || this.#leaving) return
    try {
      this.#handlers.frame(this, typeByte, frame)
    } catch (error) {
      this.#handlers.broken(this, asTunnelError(error))
    }
  }

  /** RESET, now; what was queued is dropped. */
  reset(error: TunnelError): void {
    this.#lastFrame((number) => frames.encodeJson(FrameType.RESET, number, error.toWire()))
  }

  /** SUSPEND, now; what was queued is dropped, and will be replayed. */
  suspend(): void {
    this.#lastFrame((number) => frames.encodeFrame(FrameType.SUSPEND, number))
  }

  #lastFrame(make: (number: number) => Uint8Array): void {
    if (this.#gone) return
    if (this.#number !== undefined) this.link.send(make(this.#number))
    this.leave()
  }

  leaveWhenSent(): void {
    if (this.#gone) return
    this.#leaving = true
    this.link.wake(this)
  }

  /** Gives the number back, now. */
  leave(): void {
    if (this.#gone) return
    this.#gone = true
    this.#options.memory.remove(this.#queuedBytes)
    this.#queuedBytes = 0
    this.#queue = []
    this.#resumed = undefined
    this.#window = undefined
    this.link.release(this, this.#number)
  }

  acknowledge(): void {}
  tick(): boolean {
    return false
  }

  linkClosed(): void {
    if (this.#gone) return
    this.leave()
    this.#handlers.closed(this)
  }
}
