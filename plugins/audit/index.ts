import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { type AuditEvent, AuditTrail } from './trail.ts'

export type { AuditEvent, AuditLine } from './trail.ts'

export interface Audit {
  record(event: AuditEvent): void
}

declare module 'fastify' {
  interface FastifyInstance {
    audit: Audit
  }
}

/** `dir` is the state folder: the trail is `audit.log` in it. */
async function auditPlugin(app: FastifyInstance, { dir }: { dir: string }): Promise<void> {
  const trail = new AuditTrail(join(dir, 'audit.log'), (error) =>
    app.log.error({ err: error }, 'the audit trail could not be written'),
  )
  app.decorate('audit', trail)
  app.addHook('onClose', () => trail.close())
}

export default fp(auditPlugin, { name: 'tunnel-audit', fastify: '5.x' })
