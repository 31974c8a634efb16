import { ChurningSet } from '../churn.ts'
import type { Clock } from '../clock.ts'
import { MAX_DATA_BYTES } from '../codec/frames.ts'
import type { LinkChannel } from './channels.ts'
import { Scheduler } from './scheduler.ts'
import type { Traffic } from './traffic.ts'
import type { Transport } from './transport.ts'

/** Unsent bytes below which another frame is handed to the transport: what a keystroke may have to wait behind. */
const LOW_MARK_BYTES = 131_072
/** Unsent bytes above which we stop reading: a peer that asks and does not read gets no more answers. */
const HIGH_MARK_BYTES = 2_097_152
/** The same two marks in frames: an unsent one keeps hundreds of bytes, however small it is. */
const LOW_MARK_FRAMES = 1_024
const HIGH_MARK_FRAMES = 4_096
/** DATA payload while small frames of other streams share the link, in bytes. */
const SHARED_DATA_BYTES = 16_384
/** A frame below this, in bytes, makes a stream interactive; for INTERACTIVE_MS after it. */
const SMALL_FRAME_BYTES = 1_024
const INTERACTIVE_MS = 500
/** How long an acknowledgement that the peer does not need yet may wait to be sent with others, in ms. */
const ACKNOWLEDGE_MS = 100

export interface LinkWriterOptions {
  transport: Transport
  clock: Clock
  /** Whether several streams share the link. */
  isShared(): boolean
  traffic: Traffic
}

/** The sending side of a link: whose frame goes next, and how far what leaves slowly holds up what is read. */
export class LinkWriter {
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #isShared: () => boolean
  readonly #traffic: Traffic
  readonly #scheduler = new Scheduler()
  readonly #acknowledgements = new ChurningSet<LinkChannel>()
  #acknowledgeTimer: unknown
  /** What is to follow our HELLO; undefined once that has left. */
  #beforeHello: Uint8Array[] | undefined = []
  #isOpen = false
  #isClosed = false
  #pumping = false
  #reading = true
  /** How many have asked for it not to be read. */
  #holds = 0
  #interactiveUntilMs = 0

  constructor({ transport, clock, isShared, traffic }: LinkWriterOptions) {
    this.#traffic = traffic
    this.#transport = transport
    this.#clock = clock
    this.#isShared = isShared
  }

  /** Not being read, by our own will. */
  get held(): boolean {
    return this.#holds > 0
  }

  /** Our HELLO: nothing goes before it. Once. */
  greet(hello: Uint8Array): void {
    const rest = this.#beforeHello
    if (rest === undefined) return
    this.#beforeHello = undefined
    this.send(hello)
    for (const frame of rest) this.send(frame)
  }

  /** Both sides have said HELLO: streams may send. */
  open(): void {
    this.#isOpen = true
    this.#pumpSoon()
  }

  /** Nothing more leaves. */
  close(): void {
    this.#isClosed = true
    this.#clock.clearTimer(this.#acknowledgeTimer)
    this.#acknowledgements.clear()
  }

  /** Sends past the scheduler. */
  send(frame: Uint8Array): void {
    if (this.#isClosed) return
    if (this.#beforeHello !== undefined) {
      this.#beforeHello.push(frame)
      return
    }
    this.#traffic.sentBytes += frame.length
    this.#transport.send(frame)
    if (this.#reading && this.#isOver(HIGH_MARK_BYTES, HIGH_MARK_FRAMES)) {
      this.#reading = false
      this.#transport.pause()
    }
  }

  /** `channel` may have frames to send. They leave before this turn of the event loop is over. */
  wake(channel: LinkChannel): void {
    if (this.#isClosed) return
    this.#scheduler.add(channel)
    this.#pumpSoon()
  }

  acknowledgeLater(channel: LinkChannel): void {
    if (this.#isClosed) return
    this.#acknowledgements.add(channel)
    this.#acknowledgeTimer ??= this.#clock.setTimer(() => {
      this.#acknowledgeTimer = undefined
      const due = [...this.#acknowledgements]
      this.#acknowledgements.clear()
      for (const waiting of due) waiting.acknowledge()
    }, ACKNOWLEDGE_MS)
  }

  remove(channel: LinkChannel): void {
    this.#scheduler.remove(channel)
    this.#acknowledgements.delete(channel)
  }

  /** Stops reading until `unhold`, once for each. */
  hold(): void {
    this.#holds++
    this.#transport.pause()
  }

  unhold(): void {
    this.#holds--
    if (this.#reading && !this.held) this.#transport.resume()
  }

  /** The transport has less to send. */
  drained(): void {
    if (!this.#reading && !this.#isOver(LOW_MARK_BYTES, LOW_MARK_FRAMES)) {
      this.#reading = true
      if (!this.held) this.#transport.resume()
    }
    this.#pump()
  }

  #isOver(bytes: number, frames: number): boolean {
    return this.#transport.bufferedBytes >= bytes || (this.#transport.unsentFrames ?? 0) >= frames
  }

  #pumpSoon(): void {
    if (this.#pumping || !this.#isOpen) return
    this.#pumping = true
    queueMicrotask(() => {
      this.#pumping = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#isClosed || !this.#isOpen) return
    const now = this.#clock.now()
    while (!this.#isOver(LOW_MARK_BYTES, LOW_MARK_FRAMES)) {
      const shared = now < this.#interactiveUntilMs && this.#isShared()
      const frame = this.#scheduler.next(shared ? SHARED_DATA_BYTES : MAX_DATA_BYTES)
      if (frame === undefined) return
      if (frame.length < SMALL_FRAME_BYTES) this.#interactiveUntilMs = now + INTERACTIVE_MS
      this.#traffic.sentBytes += frame.length
      this.#transport.send(frame, this.#scheduler.compressible)
    }
  }
}
