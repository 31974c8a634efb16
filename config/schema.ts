import { type Static, Type } from 'typebox'
import { ClientSettings } from '../client/options.ts'
import { PluginsOptions } from '../custom/options.ts'
import { AuditOptions } from '../plugins/audit/options.ts'
import { AuthOptions } from '../plugins/auth/options.ts'
import { BreakerOptions } from '../plugins/breaker/options.ts'
import { ClusterOptions } from '../plugins/cluster/options.ts'
import { EnrolmentOptions } from '../plugins/enrolment/options.ts'
import { RequestOptions } from '../plugins/forward/options.ts'
import { GatewayOptions } from '../plugins/gateway/options.ts'
import { HealthOptions } from '../plugins/health/options.ts'
import { DrainOptions } from '../plugins/lifecycle/options.ts'
import { LogOptions } from '../plugins/logging/options.ts'
import { MachinesOptions } from '../plugins/machines/options.ts'
import { MetricsOptions } from '../plugins/metrics/options.ts'
import { PolicyOptions } from '../plugins/policy/options.ts'
import { PoolOptions } from '../plugins/pool/options.ts'
import { RateLimitOptions } from '../plugins/ratelimit/options.ts'
import { SshOptions } from '../plugins/ssh/options.ts'
import { StateOptions } from '../plugins/state/options.ts'
import { TiersOptions } from '../plugins/tiers/options.ts'
import { TracingOptions } from '../plugins/tracing/options.ts'
import { ServerOptions } from './server-options.ts'

/** Every setting there is: one schema for server, agent and client, so that one file may serve all three. */
export const SettingsSchema = Type.Object(
  {
    ...ClientSettings.properties,
    // The proxy's is the wider one.
    request: RequestOptions,
    server: ServerOptions,
    log: LogOptions,
    health: HealthOptions,
    metrics: MetricsOptions,
    tracing: TracingOptions,
    state: StateOptions,
    cluster: ClusterOptions,
    drain: DrainOptions,
    audit: AuditOptions,
    auth: AuthOptions,
    enrolment: EnrolmentOptions,
    policy: PolicyOptions,
    tiers: TiersOptions,
    rateLimit: RateLimitOptions,
    breaker: BreakerOptions,
    gateway: GatewayOptions,
    machines: MachinesOptions,
    ssh: SshOptions,
    pool: PoolOptions,
    plugins: PluginsOptions,
  },
  { additionalProperties: false },
)
export type Settings = Static<typeof SettingsSchema>
