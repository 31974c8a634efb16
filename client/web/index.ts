/** The client library, for browsers. */

export type { TokenProvider } from '../../dial/token.ts'
export { type ErrorCategory, type ErrorCode, type Hop, TunnelError } from '../../protocol/codec/errors.ts'
export type { Priority } from '../../protocol/codec/heads.ts'
export type { Dial } from '../../protocol/link/transport.ts'
export type {
  DiagnosticName,
  DiagnosticOptions,
  DiagnosticReport,
  DiagnosticStep,
} from '../diagnostics/report.ts'
export type { FetchInit } from '../fetch.ts'
export type { ForwardRequest } from '../forward-request.ts'
export { ForwardResponse } from '../forward-response.ts'
export type { HeadersLike } from '../headers.ts'
export type { Machine } from '../machines.ts'
export type { ClientMetrics, MetricsSnapshot } from '../metrics/collector.ts'
export type { ClientOverrides, ClientSettings } from '../options.ts'
export type { Platform } from '../platform.ts'
export type { SetAside } from '../queue/journal.ts'
export type { KeepOptions } from '../queue/kept-requests.ts'
export { MemoryStore } from '../queue/memory-store.ts'
export type { QueuedRequest, RestoredRequest } from '../queue/queued-request.ts'
export type { QueueState } from '../queue/request-queue.ts'
export type { QueueStore, StoreChange } from '../queue/store.ts'
export type { TunnelState, TunnelStatus } from '../status.ts'
export type { Reconnected, TunnelEvents, TunnelServiceOptions } from '../tunnel-options.ts'
export type { BodyLike } from '../upload.ts'
export { TunnelService } from './service.ts'
