import fastifyRateLimit from '@fastify/rate-limit'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { User } from '../auth/index.ts'
import { ipLimited, peerGone, streamsLimited } from './errors.ts'
import type { RateLimitOptions } from './options.ts'
import { WindowCounts } from './window-counts.ts'

export interface RateLimits {
  /**
   * Takes one stream from the user's bucket, whose size and rate are those of `user.tier`; throws RATE_LIMITED with
   * retryAfterMs. A user has one bucket: with tokens of two tiers, what one has taken is missing for the other.
   */
  takeStream(user: User): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    rateLimits: RateLimits
    /**
     * A hook for `onRequest` of every route but the probes, before authentication, upgrades included. Writes the
     * headers RateLimit and RateLimit-Policy; throws RATE_LIMITED.
     */
    limitByIp: LimitByIp
    /** The same for the probes, which are counted apart: an address that has used up its requests can still probe. */
    limitProbesByIp: LimitByIp
  }
}

type LimitByIp = (request: FastifyRequest, reply: FastifyReply) => Promise<void>

const WINDOW_MS = 60_000
const FORWARDED =
  'a request came with x-forwarded-for, which is not believed: if a reverse proxy stands in front, name it in server.trustProxy, or everyone who comes through it shares one limit'
/** Addresses counted at once; the longest unseen is forgotten. */
const MAX_ADDRESSES = 10_000

/** @fastify/rate-limit makes its stores itself. */
class AddressCounts extends WindowCounts {
  constructor() {
    super(MAX_ADDRESSES)
  }
}

export default fp<RateLimitOptions & { behindProxy?: boolean }>(
  async (app, options) => {
    // global: false and createRateLimit: the limit is where a route says so, and this plugin adds no hook.
    await app.register(fastifyRateLimit, { global: false, store: AddressCounts })
    let isWarned = false
    const limiter = (): LimitByIp => {
      const countRequest = app.createRateLimit({ max: options.perIpPerMinute, timeWindow: WINDOW_MS })
      return async (request, reply) => {
        if (!isWarned && !options.behindProxy && request.headers['x-forwarded-for'] !== undefined) {
          isWarned = true
          request.log.warn(FORWARDED)
        }
        // Without its peer the socket has no address.
        if (request.ip === undefined) throw peerGone()
        const count = await countRequest(request)
        if (count.isAllowed) return
        reply.header('RateLimit-Policy', `"ip";q=${count.max};w=${WINDOW_MS / 1_000}`)
        reply.header('RateLimit', `"ip";r=${count.remaining};t=${count.ttlInSeconds}`)
        if (!count.isExceeded) return
        app.tunnelMetrics.rateLimited.inc({ scope: 'ip', tier: 'none' })
        reply.header('Retry-After', count.ttlInSeconds)
        throw ipLimited(count.max, count.ttl)
      }
    }
    app.decorate('limitByIp', limiter())
    app.decorate('limitProbesByIp', limiter())

    const rateLimits: RateLimits = {
      async takeStream(user) {
        const limit = options.tiers[user.tier]
        const taken = await app.state.takeToken(`streams:${user.sub}`, limit)
        if (taken.allowed) return
        app.tunnelMetrics.rateLimited.inc({ scope: 'stream', tier: user.tier })
        throw streamsLimited(user.tier, limit.perMinute, taken.retryAfterMs)
      },
    }
    app.decorate('rateLimits', rateLimits)
  },
  { name: 'tunnel-ratelimit', fastify: '5.x', dependencies: ['tunnel-metrics', 'tunnel-state'] },
)
