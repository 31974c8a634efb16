import type { FastifyReply } from 'fastify'
import type { User } from '../auth/index.ts'
import type { TunnelMetrics } from '../metrics/index.ts'
import type { BucketLimit, State, TokenAnswer } from '../state/index.ts'
import { linksLimited, routeLimited, userLimited } from './errors.ts'
import { tellLimit, toldBucket } from './headers.ts'
import type { RateLimitOptions } from './options.ts'

export type LimitScope = Parameters<TunnelMetrics['rateLimited']['inc']>[0]['scope']

/** A limit of one route's own, beside those of its address and its user. */
export interface RouteLimit extends BucketLimit {
  /** A plain word, of which the answer tells. */
  name: string
  scope: LimitScope
}

interface BucketServices {
  readonly state: Pick<State, 'takeToken'>
  readonly tunnelMetrics: Pick<TunnelMetrics, 'rateLimited'>
}

/**
 * What users take tokens for, at the rate of the tier of the token in hand. A user has one bucket for streams and
 * requests: with tokens of two tiers, what one has taken is missing for the other. Whoever has a machine has its agent's
 * token, and must not be able to use up what its owner has: agents have a bucket of their own.
 */
export class UserBuckets {
  readonly #services: BucketServices
  readonly #tiers: RateLimitOptions['tiers']

  constructor(services: BucketServices, tiers: RateLimitOptions['tiers']) {
    this.#services = services
    this.#tiers = tiers
  }

  /** @throws {TunnelError} RATE_LIMITED with retryAfterMs */
  async takeStream(user: User): Promise<void> {
    const limit = this.#tiers[user.tier]
    const taken = await this.#take(bucketOf(user), limit)
    if (taken.allowed) return
    this.#count('stream', user.tier)
    throw userLimited(user.tier, limit.perMinute, taken.retryAfterMs)
  }

  /** The same, and tells of it. */
  async takeRequest(user: User, reply: FastifyReply): Promise<void> {
    const limit = this.#tiers[user.tier]
    const taken = await this.#take(bucketOf(user), limit)
    tellLimit(reply, toldBucket('user', limit, taken))
    if (taken.allowed) return
    this.#count('request', user.tier)
    throw userLimited(user.tier, limit.perMinute, taken.retryAfterMs)
  }

  /** Links have a bucket of their own: whoever comes back with all streams is not held up by what was opened before. */
  async takeLink(user: User, reply: FastifyReply): Promise<void> {
    const limit = this.#tiers[user.tier]
    const taken = await this.#take(`links-${bucketOf(user)}`, limit)
    tellLimit(reply, toldBucket('links', limit, taken))
    if (taken.allowed) return
    this.#count('link', user.tier)
    throw linksLimited(user.tier, limit.perMinute, taken.retryAfterMs)
  }

  /** One request of `key` from a route's own limit. */
  async takeRoute({ name, scope, ...limit }: RouteLimit, key: string, reply: FastifyReply): Promise<void> {
    const taken = await this.#take(`${name}:${key}`, limit)
    tellLimit(reply, toldBucket(name, limit, taken))
    if (taken.allowed) return
    this.#count(scope, 'none')
    throw routeLimited(taken.retryAfterMs)
  }

  #take(bucket: string, limit: BucketLimit): Promise<TokenAnswer> {
    return this.#services.state.takeToken(bucket, limit)
  }

  #count(scope: LimitScope, tier: string): void {
    this.#services.tunnelMetrics.rateLimited.inc({ scope, tier })
  }
}

function bucketOf({ sub, roles }: User): string {
  return `${roles.includes('agent') ? 'agent' : 'user'}:${sub}`
}
