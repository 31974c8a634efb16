import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { TunnelError } from '../../protocol/codec/errors.ts'
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

function open(file: string, failed: (error: Error) => void): AuditTrail {
  try {
    return new AuditTrail(file, failed)
  } catch (cause) {
    const text = `the audit trail ${file} cannot be opened: ${cause instanceof Error ? cause.message : cause}`
    throw new TunnelError('CONFIG_INVALID', text, { cause, hop: 'proxy' })
  }
}

/** `dir` is the state folder: the trail is `audit.log` in it. */
async function auditPlugin(app: FastifyInstance, { dir }: { dir: string }): Promise<void> {
  const trail = open(join(dir, 'audit.log'), (error) =>
    app.log.error({ err: error }, 'a line of the audit trail could not be written'),
  )
  app.decorate('audit', trail)
  app.addHook('onClose', () => trail.close())
}

export default fp(auditPlugin, { name: 'tunnel-audit', fastify: '5.x' })
