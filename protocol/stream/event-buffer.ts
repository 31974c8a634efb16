import { checkEvent } from '../codec/check-answers.ts'
import type { TunnelError } from '../codec/errors.ts'
import { copyFrame, decodeJson } from '../codec/frames.ts'
import type { AcceptHead, StreamEvent } from '../codec/heads.ts'

/** Where a stream's arrivals go; every one is optional. */
export interface StreamHandlers {
  /** The acceptor has answered (opener only). */
  accepted?(head: AcceptHead): void
  /** Call `stream.consumed(bytes.length)` when they are taken. */
  data?(bytes: Uint8Array): void
  /** Bytes of the second channel; call `stream.consumed(bytes.length)` too. */
  aux?(bytes: Uint8Array): void
  event?(event: StreamEvent): void
  /** The peer sends no more; all its data came before. */
  ended?(): void
  /** After `write` returned false: go on. */
  drained?(): void
  /** What was withheld (`isWithholding`) has been given: the peer may send more. */
  credited?(): void
  /** The path is gone; the stream waits for another. */
  suspended?(): void
  /** The stream goes on where it stood; so many bytes of ours may not have arrived, and are sent again. */
  resumed?(replayedBytes: number): void
  /** Once, and last. Undefined: both sides have ended, and each knows that the other has everything. */
  closed?(error: TunnelError | undefined): void
}

const NOBODY: StreamHandlers = {}

/** Small pieces of data that come before there are handlers are put together up to this, in bytes. */
const MERGED_BYTES = 16_384

/** Data that came early: `filled` bytes of `bytes`. */
interface Merged {
  channel: 'data' | 'aux'
  bytes: Uint8Array
  filled: number
}

/** Calls the handlers, or keeps what comes until there are any: inside the window, and about as large as that. */
export class EventBuffer {
  #handlers: StreamHandlers | undefined
  #early: (Merged | ((handlers: StreamHandlers) => void))[] = []

  handle(handlers: StreamHandlers): void {
    this.#handlers = handlers
    const early = this.#early
    this.#early = []
    for (const item of early) {
      // What one of them does may close the stream: then nobody is told the rest.
      if (typeof item === 'function') item(this.#handlers)
      else this.#handlers[item.channel]?.(item.bytes.subarray(0, item.filled))
    }
  }

  /** There are no handlers yet: what comes is kept. */
  get keeps(): boolean {
    return this.#handlers === undefined
  }

  accepted(head: AcceptHead): void {
    this.#tell((handlers) => handlers.accepted?.(head))
  }

  data(bytes: Uint8Array): void {
    if (this.#handlers === undefined) this.#keep('data', bytes)
    else this.#handlers.data?.(bytes)
  }

  aux(bytes: Uint8Array): void {
    if (this.#handlers === undefined) this.#keep('aux', bytes)
    else this.#handlers.aux?.(bytes)
  }

  #keep(channel: Merged['channel'], bytes: Uint8Array): void {
    const last = this.#early.at(-1)
    if (typeof last === 'object' && last.channel === channel && add(last, bytes)) return
    // In memory of its own: a view would keep all that came with it, and is not ours to add to.
    const own = bytes.length < MERGED_BYTES ? copyFrame(bytes) : bytes
    this.#early.push({ channel, bytes: own, filled: own.length })
  }

  /** `frame` is what it came in: kept in its place, as it is smaller. `taken` is called if it is not delivered at once. */
  event(event: StreamEvent, frame: Uint8Array, taken: () => void): void {
    if (this.#handlers !== undefined) return this.#handlers.event?.(event)
    const kept = copyFrame(frame)
    this.#early.push((handlers) => {
      const again = checkEvent(decodeJson(kept))
      if (again !== undefined) handlers.event?.(again)
      taken()
    })
  }

  ended(): void {
    this.#tell((handlers) => handlers.ended?.())
  }

  closed(error: TunnelError | undefined): void {
    this.#tell((handlers) => {
      this.#handlers = NOBODY
      handlers.closed?.(error)
    })
  }

  #tell(deliver: (handlers: StreamHandlers) => void): void {
    if (this.#handlers === undefined) this.#early.push(deliver)
    else deliver(this.#handlers)
  }

  /** Not kept for handlers that are set later: it may no longer hold by then. */
  drained(): void {
    this.#handlers?.drained?.()
  }
  suspended(): void {
    this.#handlers?.suspended?.()
  }
  resumed(replayedBytes: number): void {
    this.#handlers?.resumed?.(replayedBytes)
  }
}

/** Whether there was room for `bytes` behind what is there. */
function add(merged: Merged, bytes: Uint8Array): boolean {
  const { filled } = merged
  const size = filled + bytes.length
  if (size > MERGED_BYTES) return false
  if (size > merged.bytes.length) {
    const larger = new Uint8Array(Math.min(MERGED_BYTES, 2 * size))
    larger.set(merged.bytes.subarray(0, filled))
    merged.bytes = larger
  }
  merged.bytes.set(bytes, filled)
  merged.filled = size
  return true
}
