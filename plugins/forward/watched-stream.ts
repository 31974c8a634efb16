import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { AcceptHead } from '../../protocol/codec/heads.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { StreamHandlers } from '../../protocol/stream/event-buffer.ts'
import { WrappedHandlers, WrappedStream } from './wrapped-stream.ts'

/** `in` is towards the machine, `aux` the second channel from it, such as a command's stderr. */
export type WatchedDirection = 'in' | 'out' | 'aux'

/** Who looks on at a stream that ends at this proxy. Neither call may throw, or hold the stream up. */
export interface StreamWatcher {
  /** What passes. The bytes are the stream's: they have to be copied before this returns. */
  bytes(direction: WatchedDirection, bytes: Uint8Array): void
  /** Once: nothing more will pass here. */
  over(error: TunnelError | undefined): void
}

/** Those who look on at one stream; mostly there are none. */
export class Watchers {
  #watchers: Set<StreamWatcher> | undefined

  get count(): number {
    return this.#watchers?.size ?? 0
  }

  /** Returns what ends it. */
  add(watcher: StreamWatcher): () => void {
    this.#watchers ??= new Set()
    this.#watchers.add(watcher)
    return () => {
      this.#watchers?.delete(watcher)
    }
  }

  bytes(direction: WatchedDirection, bytes: Uint8Array | undefined): void {
    if (this.#watchers === undefined || bytes === undefined || bytes.length === 0) return
    for (const watcher of this.#watchers) watcher.bytes(direction, bytes)
  }

  over(error: TunnelError | undefined): void {
    const watchers = this.#watchers
    this.#watchers = undefined
    for (const watcher of watchers ?? []) watcher.over(error)
  }
}

/** Shows what its opener sends. */
class ShownHandlers extends WrappedHandlers {
  readonly #watchers: Watchers

  constructor(handlers: StreamHandlers, watchers: Watchers) {
    super(handlers)
    this.#watchers = watchers
  }

  override data(bytes: Uint8Array): void {
    this.#watchers.bytes('in', bytes)
    super.data(bytes)
  }
}

/** A stream whose payload is shown to its watchers as it passes. */
export class WatchedStream extends WrappedStream {
  readonly #watchers: Watchers

  constructor(stream: ByteStream, watchers: Watchers) {
    super(stream)
    this.#watchers = watchers
  }

  override handle(handlers: StreamHandlers): void {
    super.handle(new ShownHandlers(handlers, this.#watchers))
  }
  override accept(head?: Partial<AcceptHead>, first?: Uint8Array, end?: boolean): void {
    this.#watchers.bytes('out', first)
    super.accept(head, first, end)
  }
  override write(bytes: Uint8Array): boolean {
    this.#watchers.bytes('out', bytes)
    return super.write(bytes)
  }
  override writeAux(bytes: Uint8Array): boolean {
    this.#watchers.bytes('aux', bytes)
    return super.writeAux(bytes)
  }
  override end(bytes?: Uint8Array): void {
    this.#watchers.bytes('out', bytes)
    super.end(bytes)
  }
}
