import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { AcceptHead, RoutedHead, StreamEvent } from '../../protocol/codec/heads.ts'
import type { ByteStream, HttpPeer, StreamState } from '../../protocol/stream/byte-stream.ts'
import type { StreamHandlers } from '../../protocol/stream/event-buffer.ts'

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

/** A stream whose payload is shown to its watchers as it passes. */
export class WatchedStream implements ByteStream {
  readonly #stream: ByteStream
  readonly #watchers: Watchers

  constructor(stream: ByteStream, watchers: Watchers) {
    this.#stream = stream
    this.#watchers = watchers
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
    const data = (bytes: Uint8Array): void => {
      this.#watchers.bytes('in', bytes)
      handlers.data?.(bytes)
    }
    this.#stream.handle({ ...handlers, data })
  }
  accept(head?: Partial<AcceptHead>, first?: Uint8Array, end?: boolean): void {
    this.#watchers.bytes('out', first)
    this.#stream.accept(head, first, end)
  }
  write(bytes: Uint8Array): boolean {
    this.#watchers.bytes('out', bytes)
    return this.#stream.write(bytes)
  }
  writeAux(bytes: Uint8Array): boolean {
    this.#watchers.bytes('aux', bytes)
    return this.#stream.writeAux(bytes)
  }
  end(bytes?: Uint8Array): void {
    this.#watchers.bytes('out', bytes)
    this.#stream.end(bytes)
  }
  consumed(byteCount: number): void {
    this.#stream.consumed(byteCount)
  }
  whenFramed(callback: () => void): void {
    this.#stream.whenFramed(callback)
  }
  event(event: StreamEvent): void {
    this.#stream.event(event)
  }
  reset(error: TunnelError): void {
    this.#stream.reset(error)
  }
}
