/**
 * The audit trail as lines of the proxy's own log, for whoever collects that anyway. It has the name of the built-in
 * plugin, and so takes its place: nothing is written to `audit.log`.
 *
 *     npx tunnel server --plugin tunnel-plugin-audit-log
 */
import fp from 'fastify-plugin'

/** @param {import('fastify').FastifyInstance} app */
async function auditLog(app) {
  /** @type {import('ssh-websocket-tunnel').Audit} */
  const audit = {
    record: ({ event, ...about }) => app.log.info({ context: { audit: event, ...about } }, 'audit'),
  }
  app.decorate('audit', audit)
}

export default fp(auditLog, { name: 'tunnel-audit', fastify: '5.x' })
