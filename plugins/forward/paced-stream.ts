import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { AcceptHead, RoutedHead, StreamEvent } from '../../protocol/codec/heads.ts'
import type { ByteStream, HttpPeer, StreamState } from '../../protocol/stream/byte-stream.ts'
import type { StreamHandlers } from '../../protocol/stream/event-buffer.ts'
import type { Pace } from '../../protocol/stream/pace.ts'

/**
 * A stream that ends here, at the pace of its user: while something is owed its opener gets no credit for what was taken,
 * and whoever writes to it waits for `drained`. What passes is counted by whoever carries it.
 */
export class PacedStream implements ByteStream {
  readonly #stream: ByteStream
  readonly #pace: Pace
  #handlers: StreamHandlers | undefined
  /** Taken by the consumer, and not credited yet. */
  #takenBytes = 0
  /** Who writes was told to wait for the pace, and not for the stream. */
  #isHeld = false

  constructor(stream: ByteStream, pace: Pace) {
    this.#stream = stream
    this.#pace = pace
  }

  get id(): string {
    return this.#stream.id
  }
  get head(): RoutedHead {
    return this.#stream.head
  }
  get state(): StreamState {
    return this.#stream.state
  }
  get peer(): HttpPeer | undefined {
    return this.#stream.peer
  }

  handle(handlers: StreamHandlers): void {
    this.#handlers = handlers
    const closed = (error: TunnelError | undefined): void => {
      this.#pace.forget(this.#goOn)
      handlers.closed?.(error)
    }
    this.#stream.handle({ ...handlers, closed })
  }

  accept(head?: Partial<AcceptHead>, first?: Uint8Array, end?: boolean): void {
    this.#stream.accept(head, first, end)
  }

  write(bytes: Uint8Array): boolean {
    return this.#mayGoOn(this.#stream.write(bytes))
  }
  writeAux(bytes: Uint8Array): boolean {
    return this.#mayGoOn(this.#stream.writeAux(bytes))
  }

  #mayGoOn(isTaken: boolean): boolean {
    // Who waits for the stream is told by the stream.
    if (!isTaken) return false
    if (this.#pace.isClear(this.#goOn)) return true
    this.#isHeld = true
    return false
  }

  consumed(byteCount: number): void {
    this.#takenBytes += byteCount
    if (this.#pace.isClear(this.#goOn)) this.#credit()
  }

  #credit(): void {
    const bytes = this.#takenBytes
    this.#takenBytes = 0
    if (bytes > 0) this.#stream.consumed(bytes)
  }

  readonly #goOn = (): void => {
    this.#credit()
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#handlers?.drained?.()
  }

  whenFramed(callback: () => void): void {
    this.#stream.whenFramed(callback)
  }
  event(event: StreamEvent): void {
    this.#stream.event(event)
  }
  end(bytes?: Uint8Array): void {
    this.#stream.end(bytes)
  }
  reset(error: TunnelError): void {
    this.#stream.reset(error)
  }
}
