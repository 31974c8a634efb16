import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { StreamHandlers } from '../../protocol/stream/event-buffer.ts'
import type { Pace } from '../../protocol/stream/pace.ts'
import { WrappedHandlers, WrappedStream } from './wrapped-stream.ts'

/** Ends a wait for the pace with the stream. */
class PacedHandlers extends WrappedHandlers {
  readonly #forget: () => void

  constructor(handlers: StreamHandlers, forget: () => void) {
    super(handlers)
    this.#forget = forget
  }

  override closed(error: TunnelError | undefined): void {
    this.#forget()
    super.closed(error)
  }
}

/**
 * A stream that ends here, at the pace of its user: while something is owed its opener gets no credit for what was taken,
 * and whoever writes to it waits for `drained`. What passes is counted by whoever carries it.
 */
export class PacedStream extends WrappedStream {
  readonly #pace: Pace
  #handlers: StreamHandlers | undefined
  /** Taken by the consumer, and not credited yet. */
  #takenBytes = 0
  /** Who writes was told to wait for the pace, and not for the stream. */
  #isHeld = false

  constructor(stream: ByteStream, pace: Pace) {
    super(stream)
    this.#pace = pace
  }

  override get isWithholding(): boolean {
    return this.#takenBytes > 0
  }

  override handle(handlers: StreamHandlers): void {
    this.#handlers = handlers
    super.handle(new PacedHandlers(handlers, () => this.#pace.forget(this.#goOn)))
  }

  override write(bytes: Uint8Array): boolean {
    return this.#mayGoOn(super.write(bytes))
  }
  override writeAux(bytes: Uint8Array): boolean {
    return this.#mayGoOn(super.writeAux(bytes))
  }

  #mayGoOn(isTaken: boolean): boolean {
    // Who waits for the stream is told by the stream.
    if (!isTaken) return false
    if (this.#pace.isClear(this.#goOn)) return true
    this.#isHeld = true
    return false
  }

  override consumed(byteCount: number): void {
    this.#takenBytes += byteCount
    if (this.#pace.isClear(this.#goOn)) this.#credit()
  }

  #credit(): void {
    const bytes = this.#takenBytes
    this.#takenBytes = 0
    if (bytes > 0) super.consumed(bytes)
  }

  readonly #goOn = (): void => {
    const wasWithholding = this.isWithholding
    this.#credit()
    if (wasWithholding) this.#handlers?.credited?.()
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#handlers?.drained?.()
  }
}
