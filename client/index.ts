/**
 * The client library, for Node. Node-only: node.ts, network-watch.ts, profiles.ts, raw-stream.ts, joined-stream.ts, exec.ts,
 * http.ts (Buffer).
 */

export { addressesOf, addressOf, type ProxyAddress } from '../dial/addresses.ts'
export { askPublicKey, callProxy, fetchFromProxy, type ProxyRequest } from '../dial/api.ts'
export { backoffMs } from '../dial/backoff.ts'
export { Connection, type ConnectionOptions, type ConnectionState, type Redial } from '../dial/connection.ts'
export { watchNetwork } from '../dial/network-watch.ts'
export { expiryOf, type TokenProvider } from '../dial/token.ts'
export { type ErrorCategory, type ErrorCode, type Hop, TunnelError } from '../protocol/codec/errors.ts'
export type { Priority } from '../protocol/codec/heads.ts'
export type { Dial } from '../protocol/link/transport.ts'
export type { StreamDuplex } from '../protocol/node/duplex.ts'
export { commandLine, type ExecOptions, type ExecResult } from './exec.ts'
export type { FetchInit } from './fetch.ts'
export type { HeadersLike } from './headers.ts'
export { type ForwardRequest, ForwardResponse } from './http.ts'
export type { JoinEvents } from './joined-stream.ts'
export type { Machine } from './machines.ts'
export { MetricsCollector, type MetricsSnapshot, type Quality } from './metrics.ts'
export type { ClientOverrides, ClientSettings } from './options.ts'
export type { Platform } from './platform.ts'
export { loadSettings } from './profiles.ts'
export type { RawStream } from './raw-stream.ts'
export { type QueueState, RequestQueue } from './request-queue.ts'
export { type TunnelEvents, TunnelService, type TunnelServiceOptions } from './service.ts'
export type { BodyLike } from './upload.ts'
