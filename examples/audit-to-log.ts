/**
 * A custom plugin: the audit trail as lines of the proxy's own log, for whoever collects that anyway. Start the proxy with
 * it:
 *
 *     npx tunnel server --plugin ./examples/audit-to-log.ts
 *
 * It has the name of the built-in plugin, and so takes its place: nothing is written to `audit.log`.
 */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Audit } from '../plugins/audit/index.ts'

async function auditToLog(app: FastifyInstance): Promise<void> {
  const audit: Audit = {
    record: ({ event, ...about }) => app.log.info({ context: { audit: event, ...about } }, 'audit'),
  }
  app.decorate('audit', audit)
}

export default fp(auditToLog, { name: 'tunnel-audit', fastify: '5.x' })
