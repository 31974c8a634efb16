/**
 * The client library, for Node. Node-only: node.ts, network-watch.ts, profiles.ts, raw-stream.ts, joined-stream.ts, exec.ts,
 * shell.ts, sftp/, queue/level-store.ts, queue/spool.ts.
 */

export { addressesOf, addressOf, type ProxyAddress } from '../dial/addresses.ts'
export { askPublicKey, callProxy, fetchFromProxy, type ProxyRequest } from '../dial/api.ts'
export { backoffMs } from '../dial/backoff.ts'
export { Connection, type ConnectionOptions } from '../dial/connection.ts'
export type { ConnectionState, Redial } from '../dial/connection-state.ts'
export { watchNetwork } from '../dial/network-watch.ts'
export { expiryOf, type TokenAsk, type TokenProvider } from '../dial/token.ts'
export type { Clock } from '../protocol/clock.ts'
export { type ErrorCategory, type ErrorCode, type Hop, TunnelError } from '../protocol/codec/errors.ts'
export type { Priority } from '../protocol/codec/heads.ts'
export type { Dial, Transport, TransportReceiver } from '../protocol/link/transport.ts'
export type { StreamDuplex } from '../protocol/node/duplex.ts'
export {
  DIAGNOSTIC_STEPS,
  type DiagnosticName,
  type DiagnosticOptions,
  type DiagnosticReport,
  type DiagnosticStep,
} from './diagnostics/report.ts'
export { commandLine, type ExecOptions, type ExecResult } from './exec.ts'
export type { FetchInit } from './fetch.ts'
export type { ForwardRequest } from './forward-request.ts'
export { ForwardResponse } from './forward-response.ts'
export type { HeadersLike } from './headers.ts'
export type { ClientHooks, HookName, RequestContext, ResponseContext } from './hooks.ts'
export type { JoinEvents } from './joined-stream.ts'
export type { Machine } from './machines.ts'
export type { MetricsSnapshot } from './metrics/collector.ts'
export { MetricsCollector } from './metrics/prometheus.ts'
export type { Quality } from './metrics/quality.ts'
export type { HistoryPoint } from './metrics/timeline.ts'
export { platform } from './node.ts'
export type { ClientOverrides, ClientSettings } from './options.ts'
export type { Platform } from './platform.ts'
export { loadSettings } from './profiles.ts'
export type { SetAside } from './queue/journal.ts'
export type { KeepOptions } from './queue/kept-requests.ts'
export { MemoryStore } from './queue/memory-store.ts'
export { QueuedRequest, RestoredRequest } from './queue/queued-request.ts'
export type { StoredRequest } from './queue/record.ts'
export { type QueueState, RequestQueue } from './queue/request-queue.ts'
export type { QueueStore, StoreChange, Take } from './queue/store.ts'
export type { RawStream } from './raw-stream.ts'
export { TunnelService } from './service.ts'
export { FileError, type FileProblem } from './sftp/errors.ts'
export type { FileAttributes } from './sftp/packets.ts'
export { type Handle, type ListedFile, OPEN, SftpSession } from './sftp/session.ts'
export { Shell, type ShellExit, type ShellOptions } from './shell.ts'
export type { TunnelState, TunnelStatus } from './status.ts'
export { tokenCommand } from './tokens/command.ts'
export { tokenFile } from './tokens/file.ts'
export {
  type RefreshingOptions,
  type RefreshState,
  type RefreshStore,
  refreshing,
} from './tokens/refreshing.ts'
export type { Reconnected, TunnelEvents, TunnelServiceOptions } from './tunnel-options.ts'
export type { BodyLike } from './upload.ts'
