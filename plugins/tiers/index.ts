import fp from 'fastify-plugin'
import type { User } from '../auth/index.ts'
import type { TierLimits, TiersOptions } from './options.ts'

export type { TierLimits } from './options.ts'

export interface Tiers {
  /** What whoever has this token may have. A user who has tokens of two tiers is judged by the one that asks. */
  limitsOf(user: Pick<User, 'tier'>): TierLimits
}

declare module 'fastify' {
  interface FastifyInstance {
    tiers: Tiers
  }
}

export default fp<TiersOptions>(
  async (app, options) => {
    const tiers: Tiers = { limitsOf: ({ tier }) => options[tier] }
    app.decorate('tiers', tiers)
  },
  { name: 'tunnel-tiers', fastify: '5.x' },
)
