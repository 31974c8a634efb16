import type { TunnelError } from '../codec/errors.ts'
import type { AcceptHead, HeaderList, HttpResponseHead, RoutedHead, StreamEvent } from '../codec/heads.ts'
import type { StreamHandlers } from './event-buffer.ts'

/** `opening`: not accepted yet. `open`: bytes may flow. `closed`: over, both ways. */
export type StreamState = 'opening' | 'open' | 'closed'

/**
 * The opener of a stream of kind `http` that speaks HTTP itself: it takes what a message has beside a head and a body, for
 * which frames have no place. It has said in its head whether there is a body.
 */
export interface HttpPeer {
  /** Whether the body waits for an interim response (RFC 9110, section 10.1.1). */
  readonly expectsContinue: boolean
  /** The trailers of a response are wanted (RFC 9110, section 10.1.4); the others may be told all the same. */
  readonly takesTrailers: boolean
  /** Of the request, once its body has ended (RFC 9110, section 6.5). */
  readonly requestTrailers: HeaderList
  /** An interim response (1xx), before the head. */
  interim(head: HttpResponseHead): void
  /** Of the response, before its end. */
  trailers(fields: HeaderList): void
}

/**
 * One end of a stream, for whoever carries its bytes to somewhere else. A TunnelStream is one; so may be anything that
 * has bytes in two directions, each of which ends for itself, such as a request that a gateway has received.
 */
export interface ByteStream {
  readonly id: string
  readonly head: RoutedHead
  readonly state: StreamState
  readonly peer?: HttpPeer | undefined
  /** Says where arrivals go, once. What came before is kept, inside the window, and delivered now. */
  handle(handlers: StreamHandlers): void
  /** The acceptor's answer, once; `first` are the first bytes of its direction, `end` says that they are all. */
  accept(head?: Partial<AcceptHead>, first?: Uint8Array, end?: boolean): void
  /** Queues bytes, which are the stream's until they are framed. False: wait for `drained` before writing more. */
  write(bytes: Uint8Array): boolean
  /** The same for the second channel, such as a command's stderr. */
  writeAux(bytes: Uint8Array): boolean
  /** Calls back once, when all that was written has been copied; never for a stream that ends before. */
  whenFramed(callback: () => void): void
  /** In order with the data. */
  event(event: StreamEvent): void
  /** No more from this side (half close). */
  end(bytes?: Uint8Array): void
  /** The peer is not told yet of all that was taken, and so may have no room to send more; `credited` comes when it is. */
  readonly isWithholding?: boolean | undefined
  /** The consumer has taken this many delivered bytes: the peer may send as many more. */
  consumed(byteCount: number): void
  /** Over, both ways, now. */
  reset(error: TunnelError): void
}
