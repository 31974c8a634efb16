import type { Redial } from '../dial/connection-state.ts'
import type { TokenProvider } from '../dial/token.ts'
import type { TunnelError } from '../protocol/codec/errors.ts'
import type { TransportKind } from '../protocol/link/transport.ts'
import type { ClientOverrides, ClientSettings } from './options.ts'
import type { Platform } from './platform.ts'
import type { SetAside } from './queue/journal.ts'
import type { KeepOptions } from './queue/kept-requests.ts'
import type { RestoredRequest } from './queue/queued-request.ts'
import type { QueueState } from './queue/request-queue.ts'
import type { TunnelState, TunnelStatus } from './status.ts'

export interface TunnelServiceOptions {
  /** The proxy's base, http(s) or ws(s); of several the next is tried when one fails. */
  url: string | readonly string[]
  token: TokenProvider
  /** @default 'default' */
  profile?: string
  /** What differs from the profile. Wrong ones make `connect()` reject with CONFIG_INVALID. */
  settings?: ClientOverrides
  /** In place of profile and settings; not checked, and quicker to start with. */
  resolvedSettings?: ClientSettings
  /** `connect()` goes on dialling, by the backoff, where dialling again may help. @default false */
  retryFirst?: boolean
  /** How requests are kept on disk, beside the settings of the section `queue`. */
  queue?: KeepOptions
  /** In place of the platform's own, in whole or in part. */
  platform?: Partial<Platform>
}

export interface Reconnected {
  /** Since the link was lost, in ms. */
  afterMs: number
  /** Those that were waiting for the link. */
  streams: number
}

export interface TunnelEvents {
  state: [TunnelState, TunnelStatus]
  /** The link is gone; streams wait for another. */
  'link-lost': [TunnelError]
  /** A dial is about to be made. */
  reconnecting: [Redial]
  /** There is a link again; each stream tells by its own event `resumed` when it goes on. */
  reconnected: [Reconnected]
  /** The older name of `reconnected`. */
  resumed: [Reconnected]
  /**
   * Links are carried by something else than before, which is a WebSocket at first; `why` no WebSocket passes, where that
   * has just been found out.
   */
  transport: [kind: TransportKind, why: TunnelError | undefined]
  /** Requests pile up: slow down until 'drain'. */
  backpressure: [QueueState]
  drain: [QueueState]
  /** Requests of an earlier start, or of another program; they are sent after this event, in this order. */
  restored: [RestoredRequest[]]
  /** What was among the requests on disk and is none: it is kept under another key. */
  'set-aside': [SetAside[]]
  /**
   * The connection was given up, the token could not be renewed, the queue's folder is another program's, or a queued
   * request failed whose promise nobody has asked for.
   */
  error: [TunnelError]
}
