// What `ssh-websocket-tunnel` exports: the proxy, and every type that a plugin of it needs.

// Not seen in the types above, and part of them all the same: `request.user`, and routes that are WebSockets.
export type {} from '@fastify/jwt'
export type {} from '@fastify/websocket'
export { shellWord } from './client/shell-words.ts'
export type { CustomPlugin, TunnelPlugin } from './custom/index.ts'
export { loadPlugin } from './custom/load.ts'
export type { Audit, AuditEvent } from './plugins/audit/index.ts'
export type { Auth, AuthHook, AuthScheme, Credential, SchemeUser, Tier, User } from './plugins/auth/index.ts'
export type { Breaker, CircuitKey, CircuitReport } from './plugins/breaker/index.ts'
export { serveCommand } from './plugins/forward/exec.ts'
export type {
  Carrier,
  CloseContext,
  LinkContext,
  OpenContext,
  ServeContext,
  TunnelHook,
  TunnelHookContexts,
  TunnelHookName,
} from './plugins/forward/index.ts'
export type { HealthChecks } from './plugins/health/index.ts'
export type { Lifecycle } from './plugins/lifecycle/index.ts'
export type { Machine, MachineDirectory, Route } from './plugins/machines/index.ts'
export type { Count, Level, Spread, TunnelMetrics } from './plugins/metrics/index.ts'
export type { Policy, PolicyRequest } from './plugins/policy/index.ts'
export type { AcquireRequest, ChannelLease, Pool } from './plugins/pool/index.ts'
export type { RateLimits } from './plugins/ratelimit/index.ts'
export type { LiveSettings } from './plugins/settings/index.ts'
export type { SSHConnection, Ssh } from './plugins/ssh/index.ts'
export type { State } from './plugins/state/index.ts'
export type { TierLimits, Tiers } from './plugins/tiers/index.ts'
export type { Tracing } from './plugins/tracing/index.ts'
export { type ErrorCategory, type ErrorCode, type Hop, TunnelError } from './protocol/codec/errors.ts'
export type { AddedKind, Priority, StreamKind } from './protocol/codec/heads.ts'
export type { ByteStream } from './protocol/stream/byte-stream.ts'
export { type BuildOptions, buildServer, loadSettings, type Settings } from './server.ts'
