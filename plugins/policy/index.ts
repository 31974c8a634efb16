import fp from 'fastify-plugin'
import type { User } from '../auth/index.ts'
import { type Decision, Decisions, type PolicyRequest, type Shared } from './decision.ts'
import { refused } from './errors.ts'
import { answerInTime } from './in-time.ts'
import type { PolicyOptions } from './options.ts'
import { answerAtOnce } from './shared.ts'

export type { Decision, PolicyRequest, Shared } from './decision.ts'

export interface Policy {
  /**
   * Throws POLICY_DENIED or TIER_REQUIRED, with what was refused and why. Of a stream that is let in to a name it is asked
   * again, with all `addresses` that the name stands for on the machine, before one of them is dialled.
   */
  check(request: PolicyRequest, addresses?: readonly string[]): Promise<void>
  /** The same without an error, and what has decided. Without it `policy/check` tells what `check` throws. */
  explain?(request: PolicyRequest, addresses?: readonly string[]): Promise<Decision>
  /** Machines of others that the user may name; answers at once, with no promise. Without it nobody has any. */
  sharedWith?(user: User): Shared | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    policy: Policy
  }
}

/** The built-in ones, which wait for nothing, and those that have a deadline already. */
const inTime = new WeakSet<Policy>()

/** A deadline for the policy of a plugin that takes the built-in's place. */
export const policyInTime = fp<{ hookMs: number }>(
  async ({ policy, log }, { hookMs }) => {
    if (inTime.has(policy)) return
    inTime.add(policy)
    const failed = (err: Error) => log.error({ err }, "a plugin's policy failed")
    answerInTime(policy, hookMs, failed)
    answerAtOnce(policy, failed)
  },
  { name: 'tunnel-policy-in-time', fastify: '5.x', dependencies: ['tunnel-policy'] },
)

export default fp<PolicyOptions>(
  async (app, options) => {
    const read = (its: PolicyOptions) => new Decisions(its, (user) => app.tiers.limitsOf(user))
    let decisions = read(options)
    // A rule that cannot be read is found before anything has changed.
    app.settings.beforeChange<PolicyOptions>('policy', read)
    app.settings.onChange((changed) => {
      if (changed.some((path) => path.startsWith('policy.'))) decisions = read(options)
    })
    const policy: Policy = {
      async check(request, addresses) {
        const decision = decisions.decide(request, addresses)
        if (!decision.allowed) throw refused(decision, request)
      },
      explain: async (request, addresses) => decisions.decide(request, addresses),
      sharedWith: (user) => decisions.sharedWith(user),
    }
    inTime.add(policy)
    app.decorate('policy', policy)
  },
  { name: 'tunnel-policy', fastify: '5.x', dependencies: ['tunnel-settings', 'tunnel-auth', 'tunnel-tiers'] },
)
