import type { Socket } from 'node:net'
import fastifyRateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { systemClock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { networkOf } from '../../protocol/node/network-of.ts'
import type { User } from '../auth/index.ts'
import { type RouteLimit, UserBuckets } from './buckets.ts'
import { ipLimited, peerGone, penalised } from './errors.ts'
import { tellLimit } from './headers.ts'
import type { RateLimitOptions } from './options.ts'
import { type Offence, offenceOf, Penalties } from './penalties.ts'
import { Refusals } from './refusals.ts'
import { WindowCounts } from './window-counts.ts'

export type { RouteLimit } from './buckets.ts'

export interface RateLimits {
  /** Takes one stream from the user's bucket, whose size and rate are those of `user.tier`; throws RATE_LIMITED. */
  takeStream(user: User): Promise<void>
  /** Takes one request of `key` from a route's own limit, and tells of it; throws RATE_LIMITED. */
  takeRoute(limit: RouteLimit, key: string, reply: FastifyReply): Promise<void>
  /** Payload that the user may have carried in a second, both directions together; 0: no limit. */
  bytesPerSecond(user: User): number
  /** How long this address is refused for what it has done, in ms from now; 0: it is not. */
  refusedMs(address: string): number
  /** A request of this address was refused with `error`, which may add to its penalty. */
  refused(address: string, error: TunnelError): void
  /** No whole request, or no TLS, came over this connection. */
  broken(socket: Socket): void
}

declare module 'fastify' {
  interface FastifyInstance {
    rateLimits: RateLimits
    /**
     * A hook for `onRequest` of every route but the probes, before authentication, upgrades included. Writes the
     * headers RateLimit and RateLimit-Policy; throws RATE_LIMITED.
     */
    limitByIp: LimitHook
    /** The same for the probes, which are counted apart: an address that has used up its requests can still probe. */
    limitProbesByIp: LimitHook
    /** A hook for `onRequest` of every route that knows its user, behind what authenticates: takes from the user's bucket. */
    limitByUser: LimitHook
    /** The same for routes that open links. */
    limitLinksByUser: LimitHook
  }
}

type LimitHook = (request: FastifyRequest, reply: FastifyReply) => Promise<void>

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

export interface RateLimitPluginOptions extends RateLimitOptions {
  /** A reverse proxy stands in front: connections have its address, and requests those of its headers. */
  behindProxy?: boolean
}

async function rateLimitPlugin(app: FastifyInstance, options: RateLimitPluginOptions): Promise<void> {
  const { tiers, perIpPerMinute, behindProxy = false } = options
  const { rateLimited } = app.tunnelMetrics
  const penalties = new Penalties(options.penalties, app.state, systemClock)
  const buckets = new UserBuckets(app, tiers)
  const refusals = new Refusals(systemClock)

  // global: false and createRateLimit: the limit is where a route says so, and this plugin adds no hook.
  await app.register(fastifyRateLimit, { global: false, store: AddressCounts })
  let isWarned = false
  const limiter = (): LimitHook => {
    const countRequest = app.createRateLimit({
      max: perIpPerMinute,
      timeWindow: WINDOW_MS,
      keyGenerator: ({ ip }) => networkOf(ip),
    })
    return async (request, reply) => {
      if (!isWarned && !behindProxy && request.headers['x-forwarded-for'] !== undefined) {
        isWarned = true
        request.log.warn(FORWARDED)
      }
      // Without its peer the socket has no address.
      if (request.ip === undefined) throw peerGone()
      const counted = await countRequest(request)
      if (counted.isAllowed) return
      const { max: quota, remaining, ttlInSeconds: resetSeconds } = counted
      tellLimit(reply, { name: 'ip', quota, windowSeconds: WINDOW_MS / 1_000, remaining, resetSeconds })
      if (!counted.isExceeded) return
      rateLimited.inc({ scope: 'ip', tier: 'none' })
      await refusals.turn(`address:${networkOf(request.ip)}`, reply)
      throw ipLimited(quota, counted.ttl)
    }
  }
  const countByIp = limiter()
  app.decorate('limitByIp', async (request: FastifyRequest, reply: FastifyReply) => {
    await countByIp(request, reply)
    const refusedMs = penalties.refusedMs(request.ip)
    if (refusedMs === 0) return
    rateLimited.inc({ scope: 'penalty', tier: 'none' })
    // It is to hold nothing here meanwhile.
    reply.header('connection', 'close')
    throw penalised(refusedMs)
  })
  app.decorate('limitProbesByIp', limiter())
  const orInTurn = async (taken: Promise<void>, user: User, reply: FastifyReply): Promise<void> => {
    try {
      await taken
    } catch (error) {
      await refusals.turn(`user:${user.sub}`, reply)
      throw error
    }
  }
  app.decorate('limitByUser', ({ user }: FastifyRequest, reply: FastifyReply) =>
    orInTurn(buckets.takeRequest(user, reply), user, reply),
  )
  app.decorate('limitLinksByUser', ({ user }: FastifyRequest, reply: FastifyReply) =>
    orInTurn(buckets.takeLink(user, reply), user, reply),
  )

  const penalise = (address: string, offence: Offence): void => {
    penalties
      .add(address, offence)
      .catch((error: unknown) => app.log.error({ err: error }, 'a penalty could not be shared'))
  }
  const rateLimits: RateLimits = {
    takeStream: (user) => buckets.takeStream(user),
    takeRoute: (limit, key, reply) => buckets.takeRoute(limit, key, reply),
    bytesPerSecond: ({ tier }) => tiers[tier].bytesPerSecond,
    refusedMs: (address) => penalties.refusedMs(address),
    refused(address, error) {
      const offence = offenceOf(error)
      if (offence !== undefined) penalise(address, offence)
    },
    broken({ remoteAddress }) {
      // Behind a reverse proxy it is the address of that one.
      if (!behindProxy && remoteAddress !== undefined) penalise(remoteAddress, 'handshake')
    },
  }
  app.decorate('rateLimits', rateLimits)
}

export default fp(rateLimitPlugin, {
  name: 'tunnel-ratelimit',
  fastify: '5.x',
  dependencies: ['tunnel-metrics', 'tunnel-state'],
})
