import type { Clock } from '../../protocol/clock.ts'
import type { AuditEvent } from '../audit/index.ts'
import type { User } from '../auth/index.ts'
import type { Route } from '../machines/index.ts'
import type { TunnelMetrics } from '../metrics/index.ts'
import type { Policy } from '../policy/index.ts'
import type { Tracing } from '../tracing/index.ts'
import type { OpenContext, TunnelHooks } from './hooks.ts'
import type { RecentErrors } from './reports.ts'

/** What a stream's way is built on; read at each use, so that a custom plugin may replace any of it. */
export interface PassageServices {
  /** Throws TOKEN_EXPIRED or TOKEN_REVOKED for a user who may not go on. */
  readonly auth: { check(user: User): void }
  readonly policy: Pick<Policy, 'check' | 'explain'>
  readonly rateLimits: {
    takeStream(user: User): Promise<void>
    /** 0: no limit. */
    bytesPerSecond(user: User): number
  }
  readonly machines: { resolve(user: User, machine: string): Promise<Route> }
  readonly audit: { record(event: AuditEvent): void }
  readonly tracing: Pick<Tracing, 'stream' | 'during'>
  readonly tunnelMetrics: Pick<
    TunnelMetrics,
    'requests' | 'requestLatencyMs' | 'streamOpens' | 'streamOpenMs' | 'countError' | 'bytes'
  >
}

/** Everything that all passages share. */
export interface PassageShared {
  readonly services: PassageServices
  readonly hooks: TunnelHooks
  readonly clock: Clock
  /** An answer that took longer than this is logged, in ms. */
  readonly slowMs: number
  /** Payload since it was last counted: no metric is counted for each frame. */
  readonly bytes: Record<OpenContext['mode'], { in: number; out: number }>
  readonly recentErrors: RecentErrors
}
