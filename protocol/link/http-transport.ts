import { type Clock, systemClock } from '../clock.ts'
import type { TunnelError } from '../codec/errors.ts'
import { problemOf } from './dial-failure.ts'
import { HttpUplink } from './http-uplink.ts'
import { type Ended, framePrefix, goodbye, NO_GOODBYE, RecordReader } from './records.ts'
import { CLOSE_TIMEOUT_MS, type Fetch, type Transport, type TransportReceiver } from './transport.ts'

export interface HttpTransportOptions {
  /** Where the link's bytes are posted. */
  uplink: string
  /** Of every post: whose session it is. */
  headers: Record<string, string>
  /** The long answer. */
  down: ReadableStreamDefaultReader<Uint8Array>
  /** What was read of it already. */
  first: Uint8Array
  maxFrameBytes: number
  fetch: Fetch
  /** Gives connections back. */
  release(): void
  detour?: TunnelError | undefined
  /** @default the system's */
  clock?: Clock
}

/** HTTP streaming as a link's transport, on the dialler's side: one long answer down, short posts up. */
export class HttpTransport implements Transport {
  readonly kind = 'http'
  detour: TunnelError | undefined
  readonly #down: ReadableStreamDefaultReader<Uint8Array>
  readonly #release: () => void
  readonly #clock: Clock
  readonly #reader: RecordReader
  readonly #up: HttpUplink
  #receiver: TransportReceiver | undefined
  #first: Uint8Array | undefined
  #ended: Ended = NO_GOODBYE
  #isClosing = false
  #isOver = false
  /** Nothing is read while it is there. */
  #held: { promise: Promise<void>; end: () => void } | undefined
  #closeTimer: unknown

  constructor(options: HttpTransportOptions) {
    const { uplink, headers, fetch, down, first, release, detour, maxFrameBytes } = options
    this.detour = detour
    this.#down = down
    this.#first = first
    this.#release = release
    this.#clock = options.clock ?? systemClock
    this.#reader = new RecordReader(maxFrameBytes, {
      frame: (frame) => this.#receiver?.message(frame),
      ended: (ended) => this.#end(this.#isClosing ? this.#ended : ended),
    })
    this.#up = new HttpUplink({
      url: uplink,
      headers,
      fetch,
      clock: this.#clock,
      sent: () => this.#receiver?.drained(),
      idle: () => {
        if (this.#isClosing) this.#end(this.#ended)
      },
      failed: (status, body) => this.#refused(status, body),
    })
  }

  get receiver(): TransportReceiver | undefined {
    return this.#receiver
  }

  set receiver(receiver: TransportReceiver | undefined) {
    const isFirst = this.#receiver === undefined
    this.#receiver = receiver
    if (isFirst) void this.#read()
  }

  get bufferedBytes(): number {
    return this.#up.queuedBytes
  }

  send(frame: Uint8Array): void {
    if (this.#isClosing || this.#isOver) return
    this.#up.write(framePrefix(frame.length), frame)
  }

  /** What is still to come is read meanwhile and goes nowhere. */
  close(code: number, reason: string): void {
    if (this.#isClosing || this.#isOver) return
    this.#isClosing = true
    this.#ended = { code, reason }
    this.resume()
    this.#closeTimer = this.#clock.setTimer(() => this.#end(this.#ended), CLOSE_TIMEOUT_MS)
    this.#up.write(goodbye(this.#ended))
  }

  terminate(): void {
    this.#end(this.#isClosing ? this.#ended : NO_GOODBYE)
  }

  pause(): void {
    if (this.#held !== undefined) return
    let end = (): void => {}
    const promise = new Promise<void>((resolve) => {
      end = resolve
    })
    this.#held = { promise, end }
  }

  resume(): void {
    this.#held?.end()
    this.#held = undefined
  }

  async #read(): Promise<void> {
    // Whoever sets the receiver is still being made.
    await undefined
    try {
      if (this.#first !== undefined) this.#reader.read(this.#first)
      this.#first = undefined
      while (!this.#isOver) {
        await this.#held?.promise
        const { value, done } = await this.#down.read()
        if (done) break
        this.#reader.read(value)
      }
    } catch {
      // Broken off: a link that is lost.
    }
    this.#end(this.#ended)
  }

  /** The proxy has refused bytes of ours. */
  #refused(status: number, body: string): void {
    const problem = problemOf(body)
    const isOver = problem === undefined || problem.code === 'SESSION_UNKNOWN'
    const reason = `${problem?.code}: ${problem?.publicMessage}`
    this.#end(isOver ? { ...NO_GOODBYE, reason: `HTTP ${status}` } : { code: problem.closeCode, reason })
  }

  #end(ended: Ended): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#clock.clearTimer(this.#closeTimer)
    this.resume()
    this.#reader.stop()
    this.#up.stop()
    this.#down.cancel().catch(() => {})
    this.#release()
    // Never out of a call of the link's own.
    queueMicrotask(() => this.#receiver?.closed(ended.code, ended.reason))
  }
}
