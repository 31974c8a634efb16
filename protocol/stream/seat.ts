import type { TunnelError } from '../codec/errors.ts'
import { TYPE_MASK } from '../codec/frames.ts'
import { isSealed, type Priority } from '../codec/heads.ts'
import type { Link } from '../link/link.ts'
import { Seat } from '../link/seat.ts'
import type { StreamWay } from './stream-way.ts'

/** A stream's place on one link. */
export class StreamSeat extends Seat {
  readonly #stream: StreamWay

  constructor(stream: StreamWay, link: Link, number?: number) {
    super(link, number)
    this.#stream = stream
  }

  get priority(): Priority {
    return this.#stream.head.priority ?? 'normal'
  }

  override get compressible(): boolean {
    return !isSealed(this.#stream.head.kind)
  }

  protected next(maxDataBytes: number): Uint8Array | undefined {
    return this.#stream.nextFrame(this, maxDataBytes)
  }

  protected receive(typeByte: number, frame: Uint8Array): void {
    this.#stream.receive(typeByte & TYPE_MASK, typeByte, frame)
  }

  protected failed(error: TunnelError): void {
    this.#stream.reset(error)
  }

  protected closed(): void {
    this.#stream.suspend()
  }

  override acknowledge(): void {
    if (!this.released) this.#stream.acknowledge()
  }

  override tick(nowMs: number, readToMs: number): boolean {
    return !this.released && this.#stream.checkProgress(nowMs, readToMs)
  }
}
