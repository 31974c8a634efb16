import { isIP } from 'node:net'
import { Redis, type RedisOptions } from 'ioredis'
import { redisAway, redisRefuses, redisUnreachable } from './errors.ts'
import { connectPatiently } from './redis-opening.ts'
import { SCRIPTS, type ScriptName } from './redis-scripts.ts'

/** No call waits longer while our own event loop goes on; a connection that is silent for twice as long is given up. */
const TIMEOUT_MS = 1_000
/** How soon one that was late is asked again, in ms. */
const LOOK_MS = 250
const MAX_RETRY_MS = 2_000
const DEFAULT_PORT = 6_379
/** How often it is told that Redis answers and does not do what it is asked, in ms. */
const TELL_MS = 60_000
/** Calls under way at once: more of them than Redis answers in the time that they have. */
const MAX_PENDING = 10_000
/** How Redis says that the user, its password or its rights are wrong. */
const DENIED = /^(WRONGPASS|NOAUTH|NOPERM|ERR (AUTH|invalid password|Client sent AUTH|invalid DB index))/

type Argument = string | number

export interface RedisPlace {
  /** `redis://` or `rediss://`, with user, password and database. */
  url: string
  /** `host:port` of Sentinels, asked one after the other where the master of this name is. @default the URL says it */
  sentinels?: { addresses: readonly string[]; master: string } | undefined
}

/**
 * One connection to Redis. Away or slow, it costs each call a second at most, and those after it nothing: until it is
 * back they are refused at once. No call is sent a second time, as nobody knows whether the first has arrived.
 */
export class RedisConnection {
  readonly #redis: Redis
  readonly #failed: (error: Error) => void
  readonly #ready: () => void
  #pending = 0
  #toldAtMs = Number.NEGATIVE_INFINITY
  #lastFailed = false
  readonly #isTls: boolean
  /** A call was not answered in time, and none was since: those who come are not made to wait too. */
  #isLate = false
  #look: NodeJS.Timeout | undefined

  /**
   * @param place where Redis is
   * @param failed told once when it breaks after it was ready, and of calls that Redis does not carry out, as when it
   * is full; what `open` meets it throws
   * @param ready told each time that calls can be made
   */
  constructor(place: RedisPlace, failed: (error: Error) => void, ready: () => void) {
    this.#failed = failed
    this.#ready = ready
    this.#isTls = place.url.startsWith('rediss:')
    this.#redis = new Redis({
      ...endpointOf(place),
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectTimeout: TIMEOUT_MS,
      socketTimeout: 2 * TIMEOUT_MS,
      retryStrategy: retryMs,
      // Whoever subscribes has to know from when on it hears, so it does that itself.
      autoResubscribe: false,
      scripts: SCRIPTS,
    })
    let isTold = true
    this.#redis.on('error', (error: Error) => {
      if (isTold) return
      isTold = true
      failed(plain(error))
    })
    this.#redis.on('ready', () => {
      isTold = false
      this.#isLate = false
      ready()
    })
  }

  /** @throws {TunnelError} CONFIG_INVALID where Redis lets us not in, STATE_UNAVAILABLE where it does not answer */
  async open(): Promise<void> {
    let refusal: Error | undefined
    const keep = (error: Error): void => {
      refusal ??= error
    }
    this.#redis.on('error', keep)
    try {
      await connectPatiently(this.#redis, () => {
        refusal = undefined
      })
    } catch (error) {
      this.close()
      throw refused(refusal, error, this.#isTls)
    } finally {
      this.#redis.off('error', keep)
    }
  }

  /** It stands, and Redis has carried out the last call. */
  get isAvailable(): boolean {
    return this.#redis.status === 'ready' && !this.#lastFailed
  }

  /** @throws {TunnelError} STATE_UNAVAILABLE */
  run(script: ScriptName, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    if (this.#isLate) return Promise.reject(redisAway(late()))
    const scripts = this.#redis as unknown as Record<ScriptName, (...args: Argument[]) => Promise<unknown>>
    return this.#bounded(() => scripts[script](...keys, ...args))
  }

  /** Proves that Redis answers on this connection. */
  async ping(): Promise<void> {
    await this.#bounded(() => this.#redis.ping())
  }

  onMessage(heard: (message: string) => void): void {
    this.#redis.on('message', (_channel: string, message: string) => heard(message))
  }

  /** Holds until the connection breaks. */
  async subscribe(channel: string): Promise<void> {
    await this.#bounded(() => this.#redis.subscribe(channel))
  }

  close(): void {
    clearTimeout(this.#look)
    this.#redis.disconnect()
  }

  /** Until it answers again, or the connection breaks; `ping` itself tells what fails. */
  #lookAgain(): void {
    clearTimeout(this.#look)
    const goOn = (): void => {
      if (this.#isLate && this.#redis.status === 'ready') this.#lookAgain()
    }
    this.#look = setTimeout(() => void this.ping().catch(goOn), LOOK_MS).unref()
  }

  async #bounded<T>(call: () => Promise<T>): Promise<T> {
    if (this.#pending >= MAX_PENDING) throw redisAway(new Error('too many calls wait for Redis'))
    this.#pending++
    try {
      const answer = await inTime(call())
      this.#lastFailed = false
      this.#answered()
      return answer
    } catch (error) {
      this.#lastFailed = true
      // A user that may not PING has its answer too.
      if ((error as Error).name === 'ReplyError') this.#answered()
      if (error instanceof Late && this.#redis.status === 'ready') {
        this.#isLate = true
        this.#lookAgain()
      }
      this.#callFailed(plain(error))
      throw redisAway(plain(error))
    } finally {
      this.#pending--
    }
  }

  #answered(): void {
    if (!this.#isLate) return
    this.#isLate = false
    this.#ready()
  }

  /** While the connection stands nobody else tells of it. */
  #callFailed(error: Error): void {
    const nowMs = performance.now()
    if (this.#redis.status !== 'ready' || nowMs - this.#toldAtMs < TELL_MS) return
    this.#toldAtMs = nowMs
    this.#failed(error)
  }
}

class Late extends Error {}

function late(): Late {
  return new Late('Command timed out')
}

/** In such times at most, however often the event loop stands still. */
const MOST_TIMES = 5

/**
 * As `answer` does, or late: not before what has come meanwhile was read, however late the event loop is itself. Where it
 * was, the time begins again: a script that Redis has not got yet takes two answers.
 */
function inTime<T>(answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const mostMs = performance.now() + MOST_TIMES * TIMEOUT_MS
    let timer: NodeJS.Timeout
    const wait = (): void => {
      const dueMs = performance.now() + TIMEOUT_MS
      const giveUp = (): void => {
        const nowMs = performance.now()
        if (nowMs - dueMs > LOOK_MS && nowMs < mostMs) wait()
        else reject(late())
      }
      timer = setTimeout(() => setImmediate(giveUp), TIMEOUT_MS).unref()
    }
    wait()
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

function endpointOf({ url, sentinels }: RedisPlace): Omit<RedisOptions, 'replyMapping'> {
  const { protocol, hostname, port, username, password, pathname } = new URL(url)
  const isTls = protocol === 'rediss:'
  const host = hostname.replace(/^\[|\]$/g, '')
  // A name alone can be asked for; of an address the certificate is compared as it is.
  const tls = isIP(host) === 0 ? { servername: host } : {}
  const who = {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
    db: Number(pathname.slice(1)),
  }
  if (sentinels === undefined)
    return { host, port: Number(port || DEFAULT_PORT), ...who, ...(isTls && { tls }) }
  return {
    ...who,
    name: sentinels.master,
    sentinels: sentinels.addresses.map((address) => {
      const colon = address.lastIndexOf(':')
      return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) }
    }),
    // With TLS in both: a master that Sentinels name by address has the certificate of the URL's host.
    ...(isTls && { tls, enableTLSForSentinelMode: true, sentinelTLS: tls }),
    sentinelRetryStrategy: retryMs,
    sentinelCommandTimeout: TIMEOUT_MS,
  }
}

function retryMs(attempt: number): number {
  return Math.min(MAX_RETRY_MS, 50 * 2 ** attempt) * (0.5 + Math.random() / 2)
}

/** @param told what the connection said of itself; nothing where Redis closed it without a word */
function refused(told: Error | undefined, thrown: unknown, isTls: boolean): Error {
  const cause = plain(told ?? thrown)
  if (DENIED.test(cause.message)) return redisRefuses(cause)
  const code = String((told as NodeJS.ErrnoException | undefined)?.code)
  // One without TLS waits for the end of a command that never comes.
  const isOtherWay = isTls
    ? /^(EPROTO|ETIMEDOUT|ERR_SSL_.*)$/.test(code)
    : told === undefined || code === 'ECONNRESET'
  return redisUnreachable(cause, isOtherWay ? isTls : undefined)
}

/** Without the command that ioredis hangs on its errors: its arguments may be a password, or a record. */
function plain(error: unknown): Error {
  return new Error(error instanceof Error ? error.message : String(error))
}
