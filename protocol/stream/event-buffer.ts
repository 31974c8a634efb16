import type { TunnelError } from '../codec/errors.ts'
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
  /** The path is gone; the stream waits for another. */
  suspended?(): void
  /** The stream goes on where it stood. */
  resumed?(): void
  /** Once, and last. Undefined: both sides have ended, and each knows that the other has everything. */
  closed?(error: TunnelError | undefined): void
}

const NOBODY: StreamHandlers = {}

/** Calls the handlers, or keeps what comes until there are any: inside the window, so bounded. */
export class EventBuffer {
  #handlers: StreamHandlers | undefined
  #early: ((handlers: StreamHandlers) => void)[] = []

  handle(handlers: StreamHandlers): void {
    this.#handlers = handlers
    const early = this.#early
    this.#early = []
    // What one of them does may close the stream: then nobody is told the rest.
    for (const deliver of early) deliver(this.#handlers)
  }

  /** There are no handlers yet: what comes is kept. */
  get keeps(): boolean {
    return this.#handlers === undefined
  }

  accepted(head: AcceptHead): void {
    if (this.#handlers === undefined) this.#early.push((handlers) => handlers.accepted?.(head))
    else this.#handlers.accepted?.(head)
  }

  data(bytes: Uint8Array): void {
    if (this.#handlers === undefined) this.#early.push((handlers) => handlers.data?.(bytes))
    else this.#handlers.data?.(bytes)
  }

  aux(bytes: Uint8Array): void {
    if (this.#handlers === undefined) this.#early.push((handlers) => handlers.aux?.(bytes))
    else this.#handlers.aux?.(bytes)
  }

  /** `taken` is called when it has been delivered, if that is not at once. */
  event(event: StreamEvent, taken: () => void): void {
    if (this.#handlers !== undefined) return this.#handlers.event?.(event)
    this.#early.push((handlers) => {
      handlers.event?.(event)
      taken()
    })
  }

  ended(): void {
    if (this.#handlers === undefined) this.#early.push((handlers) => handlers.ended?.())
    else this.#handlers.ended?.()
  }

  closed(error: TunnelError | undefined): void {
    const tell = (handlers: StreamHandlers): void => {
      this.#handlers = NOBODY
      handlers.closed?.(error)
    }
    if (this.#handlers === undefined) this.#early.push(tell)
    else tell(this.#handlers)
  }

  /** Without handlers there is nobody to tell: they are told only what is still so when they come. */
  drained(): void {
    this.#handlers?.drained?.()
  }
  suspended(): void {
    this.#handlers?.suspended?.()
  }
  resumed(): void {
    this.#handlers?.resumed?.()
  }
}
