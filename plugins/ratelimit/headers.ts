import type { FastifyReply } from 'fastify'
import type { BucketLimit, TokenAnswer } from '../state/index.ts'

/** What is told of one limit, as draft-ietf-httpapi-ratelimit-headers has it. */
export interface ToldLimit {
  name: string
  /** Requests in `windowSeconds`. */
  quota: number
  windowSeconds: number
  remaining: number
  /** Until there are more. */
  resetSeconds: number
}

/** Adds one limit to those that the answer tells of: `RateLimit-Policy`, `RateLimit`. */
export function tellLimit(reply: FastifyReply, limit: ToldLimit): void {
  const { name, quota, windowSeconds, remaining, resetSeconds } = limit
  add(reply, 'RateLimit-Policy', `"${name}";q=${quota};w=${windowSeconds}`)
  add(reply, 'RateLimit', `"${name}";r=${remaining};t=${resetSeconds}`)
}

function add(reply: FastifyReply, header: string, item: string): void {
  const before = reply.getHeader(header)
  reply.header(header, before === undefined ? item : `${String(before)}, ${item}`)
}

/** A bucket as a quota a minute: what is left of it now, and when it is full again, or has a token. */
export function toldBucket(name: string, { perMinute, burst }: BucketLimit, taken: TokenAnswer): ToldLimit {
  const { allowed, remaining, retryAfterMs } = taken
  const fullMs = ((burst - remaining) / perMinute) * 60_000
  return {
    ...{ name, quota: perMinute, windowSeconds: 60, remaining },
    resetSeconds: Math.ceil((allowed ? fullMs : retryAfterMs) / 1_000),
  }
}
