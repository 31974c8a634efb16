import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { packageVersion } from '../../dial/software.ts'
import { cannotBeOpened, cannotBeRecorded } from './errors.ts'
import { CURRENT } from './folder.ts'
import { type AuditEvent, sha256 } from './line.ts'
import type { AuditOptions } from './options.ts'
import { AuditTrail } from './trail.ts'

export type { AuditEvent, AuditLine } from './line.ts'

/** What takes the record of who did what; a custom plugin named `tunnel-audit` may be another one. */
export interface Audit {
  record(event: AuditEvent): void
  /** Why nothing can be recorded now; the proxy is not ready then. */
  readonly problem?: Error | undefined
  /** How often it began to be one that cannot be written, and how many events were lost; for the metrics. */
  readonly failures?: number | undefined
  readonly lostLines?: number | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    audit: Audit
    /** A hook for routes that change something: throws STATE_UNAVAILABLE where policy lets nothing go unrecorded. */
    requireRecord(): Promise<void>
  }
}

export interface AuditPluginOptions extends AuditOptions {
  /** The folder where no other is configured. */
  stateDir: string
  /** The settings that hold, of which the trail says whether they have changed. */
  settings: object
}

async function auditPlugin(app: FastifyInstance, options: AuditPluginOptions): Promise<void> {
  const { dir = options.stateDir, maxFileBytes, maxFileMs, keepFiles, settings } = options
  const file = join(dir, CURRENT)
  let trail: AuditTrail
  try {
    trail = new AuditTrail(file, {
      maxBytes: maxFileBytes,
      maxMs: maxFileMs,
      keep: keepFiles,
      failed: (error) => app.log.error({ err: error }, `the audit trail ${file} cannot be written`),
      recovered: () => app.log.info({}, `the audit trail ${file} can be written again`),
    })
  } catch (error) {
    throw cannotBeOpened(file, error)
  }
  app.decorate('audit', trail)
  app.addHook('onReady', async () => {
    const configuration = sha256(JSON.stringify(settings, withoutSecrets))
    trail.record({ event: 'proxy.started', details: { version: packageVersion(), configuration } })
  })
  app.addHook('onClose', async () => {
    await trail.close()
    // Kept elsewhere, it shows whether lines were cut off behind it.
    app.log.info({ context: { head: trail.head } }, 'the audit trail is closed')
  })
}

/** A digest of a secret would be a way to try guesses at it. */
function withoutSecrets(name: string, value: unknown): unknown {
  return /((secret|token)s?|redisUrl)$/i.test(name) ? typeof value : value
}

/** What a trail that cannot be written to means for those who come. */
export const auditGuard = fp(
  async (app: FastifyInstance, { onFailure }: Pick<AuditOptions, 'onFailure'>) => {
    const { tunnelMetrics: metrics } = app
    metrics.follow(metrics.auditFailures, () => app.audit.failures)
    metrics.follow(metrics.auditLinesLost, () => app.audit.lostLines)
    app.health.addCheck('audit', () => app.audit.problem && 'nothing can be recorded in the audit trail')
    const check = (): void => {
      if (onFailure === 'refuse' && app.audit.problem !== undefined) throw cannotBeRecorded()
    }
    app.decorate('requireRecord', async () => check())
    if (onFailure === 'continue') return
    app.tunnel.addHook('onConnect', check)
    app.tunnel.addHook('preOpen', check)
  },
  {
    name: 'tunnel-audit-guard',
    fastify: '5.x',
    dependencies: ['tunnel-audit', 'tunnel-health-checks', 'tunnel-metrics', 'tunnel-forward'],
  },
)

export default fp(auditPlugin, { name: 'tunnel-audit', fastify: '5.x' })
