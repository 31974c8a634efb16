import { stateFull } from './errors.ts'
import { nameOf, startOf } from './names.ts'
import type { RedisConnection } from './redis-connection.ts'
import type { Json, RecordOptions, Records } from './state.ts'

export interface RedisRecordsOptions {
  /** Begins every key. */
  prefix: string
  /** There are never more in a namespace, and each of them has an end. @default no bound, an end for those that name one */
  maxVolatile?: number
  /** µs since 1970. @default Redis' own time */
  nowUs?: (() => number) | undefined
  /** What is published of each write, and where. @default nothing */
  publish?: { channel: string; messageOf(namespace: string, key: string, value: Json): string }
}

/** Records in Redis, which every replica sees. */
export class RedisRecords implements Records {
  readonly #redis: RedisConnection
  readonly #options: RedisRecordsOptions

  constructor(redis: RedisConnection, options: RedisRecordsOptions) {
    this.#redis = redis
    this.#options = options
  }

  async get(namespace: string, key: string): Promise<Json | undefined> {
    return parsed(await this.#redis.run('tunnelGet', this.#keysOf(namespace, key), [this.#now(), key]))
  }

  async put(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<void> {
    await this.#write('put', namespace, key, value, options)
  }

  create(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<boolean> {
    return this.#write('create', namespace, key, value, options)
  }

  replace(
    namespace: string,
    key: string,
    before: Json,
    value: Json,
    options?: RecordOptions,
  ): Promise<boolean> {
    return this.#write('replace', namespace, key, value, options, ordered(before))
  }

  async take(namespace: string, key: string): Promise<Json | undefined> {
    return parsed(await this.#redis.run('tunnelTake', this.#keysOf(namespace, key), [this.#now(), key]))
  }

  async delete(namespace: string, key: string): Promise<void> {
    await this.take(namespace, key)
  }

  async list(
    namespace: string,
    prefix = '',
    limit = 1_000,
    after?: string,
  ): Promise<[key: string, value: Json][]> {
    const from = after === undefined ? (prefix === '' ? '-' : `[${prefix}`) : `(${after}`
    const args = [this.#now(), prefix, from, limit]
    const flat = (await this.#redis.run('tunnelList', this.#keysOf(namespace), args)) as string[]
    const found: [string, Json][] = []
    for (let at = 0; at + 1 < flat.length; at += 2) found.push([flat[at]!, JSON.parse(flat[at + 1]!)])
    return found
  }

  /** @throws {TunnelError} STATE_UNAVAILABLE also when there is no room */
  async #write(
    how: 'put' | 'create' | 'replace',
    namespace: string,
    key: string,
    value: Json,
    { ttlMs }: RecordOptions = {},
    before = '',
  ): Promise<boolean> {
    const keys = this.#keysOf(namespace, key)
    const { maxVolatile, publish } = this.#options
    if (maxVolatile !== undefined && ttlMs === undefined)
      throw new RangeError('a record that is volatile needs a ttlMs')
    const message = publish?.messageOf(namespace, key, value) ?? ''
    const bounds = [ttlMs ?? '', maxVolatile ?? '', publish?.channel ?? '', message]
    const args = [this.#now(), key, ordered(value), how, before, ...bounds]
    const answer = await this.#redis.run('tunnelWrite', keys, args)
    if (answer === -1) throw stateFull()
    return answer === 1
  }

  #now(): number | '' {
    return this.#options.nowUs?.() ?? ''
  }

  /** @throws {RangeError} for what is no name */
  #keysOf(namespace: string, key?: string): string[] {
    const start = this.#options.prefix + startOf(namespace)
    if (key !== undefined) nameOf(namespace, key)
    return [`${start}values`, `${start}names`, `${start}ends`]
  }
}

function parsed(answer: unknown): Json | undefined {
  return typeof answer === 'string' ? JSON.parse(answer) : undefined
}

/** As JSON with its members in one order, so that equal values are equal texts. */
function ordered(value: Json): string {
  return JSON.stringify(value, (_name, inner: Json) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner
    return Object.fromEntries(Object.entries(inner).sort(([one], [other]) => (one < other ? -1 : 1)))
  })
}
