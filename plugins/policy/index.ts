import fp from 'fastify-plugin'
import type { PolicyOptions } from './options.ts'
import { decide, type PolicyRequest } from './rules.ts'

export type { PolicyRequest } from './rules.ts'

export interface Policy {
  /** Throws POLICY_DENIED, with what was refused and why. */
  check(request: PolicyRequest): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    policy: Policy
  }
}

export default fp<PolicyOptions>(
  async (app, options) => {
    const policy: Policy = {
      async check(request) {
        decide(options.rules, request)
      },
    }
    app.decorate('policy', policy)
  },
  { name: 'tunnel-policy', fastify: '5.x', dependencies: ['tunnel-auth'] },
)
