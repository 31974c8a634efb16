import helmet from '@fastify/helmet'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

export interface HeadersOptions {
  /** Whether browsers reach this server by TLS alone, and are to do so for a year. */
  isTls: boolean
}

/** Headers that keep a browser from doing anything with an answer but to show it. */
async function headersPlugin(app: FastifyInstance, { isTls }: HeadersOptions): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"], baseUri: ["'none'"] },
    },
    referrerPolicy: { policy: 'no-referrer' },
    strictTransportSecurity: isTls,
  })
}

export default fp(headersPlugin, { name: 'tunnel-headers', fastify: '5.x' })
