/**
 * The protocol `tunnel.v1` without any I/O, for whoever builds another client, agent or proxy: the same in Node and in
 * a browser. What is not here is ours alone, and may change with any version. Contract: docs/PROTOCOL.md.
 */

export { type Clock, systemClock } from './clock.ts'
export {
  asTunnelError,
  ERROR_KINDS,
  type ErrorCategory,
  type ErrorCode,
  type Hop,
  isErrorCode,
  TunnelError,
  type TunnelErrorOptions,
  type WireError,
} from './codec/errors.ts'
export {
  type AcceptHead,
  type AskedHead,
  type HeaderList,
  type HttpRequestHead,
  type HttpResponseHead,
  isMachineName,
  isSealed,
  type LinkTrust,
  PRIORITIES,
  type Priority,
  type ResumeHead,
  type RoutedHead,
  STREAM_KINDS,
  type StreamEvent,
  type StreamKind,
} from './codec/heads.ts'
export { type Enrolment, type Hello, PROTOCOL_VERSION, type Role, SUBPROTOCOL } from './codec/hello.ts'
export type { Goaway, IncomingOpen, IncomingResume, LinkHandlers } from './link/handlers.ts'
export { Link } from './link/link.ts'
export type { LinkOptions } from './link/options.ts'
export type { Transport, TransportReceiver } from './link/transport.ts'
export { type Work, WorkMeter } from './link/work-meter.ts'
export { type AcceptorOptions, StreamAcceptor, type StreamTaker } from './stream/acceptor.ts'
export { Budget } from './stream/budget.ts'
export type { ByteStream, StreamState } from './stream/byte-stream.ts'
export type { StreamHandlers } from './stream/event-buffer.ts'
export { type OpenerOptions, StreamOpener } from './stream/opener.ts'
export { Relay, type RelayOptions } from './stream/relay.ts'
export { RelayMemory } from './stream/relay-memory.ts'
export { TunnelStream } from './stream/stream.ts'
