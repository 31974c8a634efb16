import { randomUUID } from 'node:crypto'
import { systemClock } from '../../protocol/clock.ts'
import { Buckets, checkCost } from './buckets.ts'
import { DEFAULT_MAX_RECORDS } from './memory-records.ts'
import { RedisConnection, type RedisPlace } from './redis-connection.ts'
import { RedisRecords } from './redis-records.ts'
import type { BucketLimit, Json, Records, State, TokenAnswer } from './state.ts'
import { WatchedRecords } from './watched-records.ts'
import { Watchers } from './watchers.ts'

/** Begins every key and channel of ours, so that nothing of another application on the same Redis is touched. */
const PREFIX = 'ssh-websocket-tunnel:'
const CHANNEL = `${PREFIX}written`
const MAX_READ_ANEW_MS = 30_000
/** How often a start asks to be told of writes: Redis was there a moment before, and may only be late. */
const SUBSCRIBE_TRIES = 3

export interface RedisStateOptions extends RedisPlace {
  /** As of `State`. */
  staleMs: number
  /** Told when Redis goes away, and of calls that it does not carry out, at most once a minute. */
  failed(error: Error): void
  /** µs since 1970, by which records end and buckets fill. @default Redis' own time */
  nowUs?: () => number
}

/**
 * State that replicas share. While Redis is away records are refused with STATE_UNAVAILABLE, buckets are this replica's
 * own, and who watches keeps what it has read for `staleMs`.
 */
export class RedisState extends WatchedRecords implements State {
  readonly volatile: Records
  readonly staleMs: number
  readonly #redis: RedisConnection
  readonly #subscriber: RedisConnection
  readonly #nowUs: (() => number) | undefined
  readonly #watchers: Watchers
  /** Used while Redis is away. */
  readonly #ownBuckets = new Buckets(systemClock)
  /** Tells our own messages from those of others. */
  readonly #origin: string
  #timer: NodeJS.Timeout | undefined
  #replicas: () => number = () => 1

  private constructor({ url, sentinels, staleMs, failed, nowUs }: RedisStateOptions) {
    const place = { url, sentinels }
    const watchers = new Watchers()
    const origin = randomUUID()
    const missed = () => watchers.missed()
    const redis = new RedisConnection(place, failed, missed)
    const records = new RedisRecords(redis, {
      prefix: `${PREFIX}kept!`,
      nowUs,
      publish: {
        channel: CHANNEL,
        messageOf: (namespace, key, value) => JSON.stringify([origin, namespace, key, value]),
      },
    })
    super(records, watchers)
    this.staleMs = staleMs
    this.#nowUs = nowUs
    this.#watchers = watchers
    this.#origin = origin
    this.#redis = redis
    // What was published before it was heard again was not heard. A failure breaks the connection, and the next is tried.
    const listen = () => void this.#subscriber.subscribe(CHANNEL).then(missed, () => {})
    this.#subscriber = new RedisConnection(place, () => {}, listen)
    this.#subscriber.onMessage((message) => this.#heard(message))
    this.volatile = new RedisRecords(this.#redis, {
      prefix: `${PREFIX}brief!`,
      nowUs,
      maxVolatile: DEFAULT_MAX_RECORDS,
    })
  }

  /** @throws {TunnelError} CONFIG_INVALID where Redis does not let us in, STATE_UNAVAILABLE where it does not answer */
  static async open(options: RedisStateOptions): Promise<RedisState> {
    const state = new RedisState(options)
    try {
      await state.#redis.open()
      await state.#subscriber.open()
      await state.#subscribe()
      state.#readAnew()
      return state
    } catch (error) {
      await state.close()
      throw error
    }
  }

  async #subscribe(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#subscriber.subscribe(CHANNEL)
      } catch (error) {
        if (tries === SUBSCRIBE_TRIES) throw error
      }
    }
  }

  /** A message is a hint that may be lost without a sign. A third of the time leaves room for two that fail. */
  #readAnew(): void {
    const everyMs = Math.min(MAX_READ_ANEW_MS, this.staleMs / 3)
    this.#timer = setInterval(() => {
      this.#watchers.missed()
      // Gives up a connection that is dead and does not know it; the errors are told there.
      this.#subscriber.ping().catch(() => {})
    }, everyMs).unref()
  }

  async takeToken(bucket: string, limit: BucketLimit, cost = 1): Promise<TokenAnswer> {
    checkCost(limit, cost)
    const tokenUs = Math.max(1, Math.round(60_000_000 / limit.perMinute))
    const args = [this.#nowUs?.() ?? '', tokenUs, limit.burst, cost]
    try {
      const answer = await this.#redis.run('tunnelToken', [`${PREFIX}bucket!${bucket}`], args)
      const [allowed, remaining, retryAfterMs] = answer as [number, number, number]
      return { allowed: allowed === 1, remaining, retryAfterMs }
    } catch {
      // Its connection has told why.
      return this.#takeOwn(bucket, limit, cost)
    }
  }

  async nowMs(): Promise<number> {
    return (await this.#redis.run('tunnelTime', [], [this.#nowUs?.() ?? ''])) as number
  }

  /** This replica's share of what all of them may give. */
  #takeOwn(bucket: string, { perMinute, burst }: BucketLimit, cost: number): TokenAnswer {
    const replicas = this.#replicas()
    // A bucket that can never give what is asked for would be none.
    const share = { perMinute: perMinute / replicas, burst: Math.max(cost, Math.floor(burst / replicas)) }
    return this.#ownBuckets.take(bucket, share, cost)
  }

  get isAvailable(): boolean {
    return this.#redis.isAvailable
  }

  shareAmong(replicas: () => number): void {
    this.#replicas = replicas
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#redis.close()
    this.#subscriber.close()
  }

  /** What another replica has written. Whoever can publish can write as well, so its form is all that is checked. */
  #heard(message: string): void {
    let parts: unknown
    try {
      parts = JSON.parse(message)
    } catch {
      parts = undefined
    }
    if (!Array.isArray(parts) || parts.length !== 4) return this.#watchers.missed()
    const [origin, namespace, key, value] = parts as [string, string, string, Json]
    if (origin !== this.#origin) this.#watchers.written(namespace, key, value)
  }
}
