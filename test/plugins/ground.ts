import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Value } from 'typebox/value'
import audit, { type AuditPluginOptions } from '../../plugins/audit/index.ts'
import { AuditOptions } from '../../plugins/audit/options.ts'
import auth from '../../plugins/auth/index.ts'
import { AuthOptions } from '../../plugins/auth/options.ts'
import { healthChecks } from '../../plugins/health/index.ts'
import lifecycle from '../../plugins/lifecycle/index.ts'
import metrics from '../../plugins/metrics/index.ts'
import ratelimit from '../../plugins/ratelimit/index.ts'
import { RateLimitOptions } from '../../plugins/ratelimit/options.ts'
import state from '../../plugins/state/index.ts'
import { StateOptions } from '../../plugins/state/options.ts'
import tiers from '../../plugins/tiers/index.ts'
import type { TiersOptions } from '../../plugins/tiers/options.ts'
import tracing from '../../plugins/tracing/index.ts'
import { TracingOptions } from '../../plugins/tracing/options.ts'
import type { Scope } from '../support/scope.ts'
import { tiersByDefault } from '../support/tiers.ts'
import { tempFolder } from '../support/tree.ts'

/** Registers what almost every other plugin stands on, with the defaults. */
export async function registerGround(
  scope: Scope,
  given: unknown,
  rateLimit: object = {},
  limits: TiersOptions = tiersByDefault(),
  tracingOptions: object = {},
): Promise<void> {
  const app = given as FastifyInstance
  // That never change.
  const settings = { onChange() {}, beforeChange() {} }
  await app.register(
    fp(async (it) => void it.decorate('settings', settings as never), { name: 'tunnel-settings' }),
  )
  await app.register(lifecycle)
  await app.register(healthChecks)
  const stateDir = await tempFolder(scope, 'state')
  await app.register(audit, Value.Default(AuditOptions, { stateDir, settings: {} }) as AuditPluginOptions)
  await app.register(metrics)
  await app.register(tracing, Value.Default(TracingOptions, tracingOptions) as TracingOptions)
  await app.register(state, Value.Default(StateOptions, { dir: stateDir }) as StateOptions)
  await app.register(tiers, limits)
  await app.register(ratelimit, Value.Default(RateLimitOptions, rateLimit) as RateLimitOptions)
}

/** What the tokens of these proxies are signed with. */
export const AUTH_SECRET = 'a secret of a test that is long enough'

/** Registers, on that ground, who is asking. */
export async function registerAuth(given: unknown, options: Partial<AuthOptions> = {}): Promise<void> {
  const settings = Value.Default(AuthOptions, {}) as AuthOptions
  await (given as FastifyInstance).register(auth, { ...settings, secret: AUTH_SECRET, ...options })
}
