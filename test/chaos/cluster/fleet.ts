import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { signToken } from '../../../plugins/auth/tokens.ts'
import { isolated, startTunnel } from '../../cli/tunnel.ts'
import type { Program } from '../../support/process.ts'
import { until } from '../../support/proxy.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { Cleanup, type Scope } from '../../support/scope.ts'
import { freePort } from '../../support/system.ts'
import { tempFolder } from '../../support/tree.ts'
import { FaultRelay } from '../fault-relay.ts'
import type { Balancer } from './balancer.ts'

export interface FleetOptions {
  balancer: Balancer
  /** More `--set a.b=v` for every replica. */
  set?: readonly string[] | undefined
  /** A folder for what each replica has written. Default: it is forgotten. */
  logs?: string | undefined
}

export interface Replica {
  readonly id: string
  readonly port: number
  readonly program: Program
  /** Before its port for other replicas: the links of those that were started before it come this way. */
  readonly relay: FaultRelay
  readonly close: () => Promise<void>
}

const SUBJECT = 'somebody'
const TOKEN_TTL_SECONDS = 12 * 3_600
/** How long a replica may take to start or to leave, in ms; computers that are busy with other things are slow. */
const PATIENCE_MS = 60_000
/** Limits out of the way: all sessions are one user's, from one address, on a computer that is busy. */
const GENEROUS = [
  'health.maxLagMs=60000',
  'server.docs=false',
  'rateLimit.perIpPerMinute=10000000',
  'rateLimit.tiers.enterprise.perMinute=10000000',
  'rateLimit.tiers.enterprise.burst=1000000',
  'streams.maxPerLink=1024',
  'tiers.enterprise.links=10000',
  'tiers.enterprise.agentLinks=20000',
  'tiers.enterprise.budgetBytes=1073741824',
]

/** Replicas as real processes with a real Redis, behind a balancer. Each start is another replica, as a pod is. */
export class Fleet {
  readonly token: string
  readonly redis: RedisServer
  /** Those that take part, the oldest first. */
  readonly replicas: Replica[] = []
  readonly #scope: Scope
  readonly #options: FleetOptions
  readonly #folder: string
  readonly #secrets: NodeJS.ProcessEnv
  #started = 0

  static async start(scope: Scope, size: number, options: FleetOptions): Promise<Fleet> {
    const [redis, folder] = await Promise.all([startRedis(scope), tempFolder(scope, 'fleet')])
    const fleet = new Fleet(scope, options, redis, folder)
    scope.after(() => Promise.all(fleet.replicas.map((replica) => replica.close())))
    await fleet.resize(size)
    return fleet
  }

  private constructor(scope: Scope, options: FleetOptions, redis: RedisServer, folder: string) {
    this.#scope = scope
    this.#options = options
    this.redis = redis
    this.#folder = folder
    const [secret, masterSecret, clusterSecret] = [0, 1, 2].map(() => randomBytes(32).toString('hex'))
    this.#secrets = {
      TUNNEL_JWT_SECRET: secret,
      TUNNEL_MASTER_SECRET: masterSecret,
      TUNNEL_CLUSTER_SECRET: clusterSecret,
    }
    this.token = signToken(secret ?? '', {
      sub: SUBJECT,
      tier: 'enterprise',
      roles: ['admin'],
      ttlSeconds: TOKEN_TTL_SECONDS,
    })
  }

  /** The environment of a client or an agent. */
  get env(): NodeJS.ProcessEnv {
    return isolated(this.#folder, { TUNNEL_URL: this.#options.balancer.url, TUNNEL_TOKEN: this.token })
  }

  /** Starts or stops some, the oldest first, until there are this many. */
  async resize(size: number): Promise<void> {
    await Promise.all(Array.from({ length: Math.max(0, size - this.replicas.length) }, () => this.add()))
    while (this.replicas.length > size) await this.remove(this.replicas[0]!, 'SIGTERM')
  }

  /** One more, which is ready and knows the others. */
  async add(): Promise<Replica> {
    const replica = await this.#start(++this.#started)
    this.replicas.push(replica)
    await this.#route()
    return replica
  }

  /** SIGTERM: asked to leave, and gone when this resolves. SIGKILL: the balancer learns of it later than everybody else. */
  async remove(replica: Replica, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    replica.program.kill(signal)
    await within(replica.program.exit, `${replica.id} did not leave`)
    this.replicas.splice(this.replicas.indexOf(replica), 1)
    await this.#route()
    await replica.close()
  }

  /** A rolling update: for each of them another one first, then it is asked to leave. */
  async roll(each: () => Promise<void>): Promise<void> {
    for (const replica of [...this.replicas]) {
      await this.add()
      await this.remove(replica, 'SIGTERM')
      await each()
    }
  }

  /** Resolves when the sum over all replicas of what their metrics say is this. */
  async untilMetric(name: string, wanted: number): Promise<void> {
    await until(async () => {
      const values = await Promise.all(this.replicas.map((replica) => metric(replica, name)))
      return values.reduce((sum, value) => sum + value, 0) === wanted
    }, PATIENCE_MS)
  }

  #route(): Promise<void> {
    return this.#options.balancer.route(this.replicas.map(({ port }) => port))
  }

  async #start(number: number): Promise<Replica> {
    // Ids in the order of their starts, so that it is known which of two has dialled the other.
    const id = `replica-${String(number).padStart(6, '0')}`
    const own = new Cleanup()
    this.#scope.after(() => own.close())
    const stateDir = join(this.#folder, id)
    await mkdir(stateDir, { mode: 0o700 })
    const meshPort = await freePort()
    const relay = await FaultRelay.listen(own, { target: { host: '127.0.0.1', port: meshPort } })
    const set = [
      ...GENEROUS,
      ...['state.store=redis', 'cluster.enabled=true', `cluster.id=${id}`],
      ...[`cluster.port=${meshPort}`, `cluster.url=${relay.url}`],
      ...(this.#options.set ?? []),
    ]
    const program = startTunnel(own, ['server', '--port', '0', ...set.flatMap((each) => ['--set', each])], {
      env: isolated(stateDir, { ...this.#secrets, TUNNEL_STATE_REDIS_URL: this.redis.url }),
    })
    const [, url = ''] = await within(
      program.line(/listening.*(http:\/\/127\.0\.0\.1:\d+)/i),
      `${id} did not listen`,
    )
    const ready = async () => (await fetch(`${url}/api/tunnel/health/ready`, CLOSE)).ok
    // Redis may be away in the meantime: then it is as ready as it can be.
    await until(() => ready().catch(() => false), PATIENCE_MS)
    const { logs } = this.#options
    if (logs !== undefined)
      own.after(() => writeFile(join(logs, `${id}.log`), program.stdout + program.stderr))
    return { id, port: Number(new URL(url).port), program, relay, close: () => own.close() }
  }
}

/** A connection that is kept would be in the way of a replica that leaves. */
const CLOSE = { headers: { connection: 'close' } }

/** 0 where there is no such metric. */
export async function metric({ port }: Replica, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/api/tunnel/metrics`, CLOSE)).text()
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1) ?? 0)
}

async function within<T>(promise: Promise<T>, otherwise: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${otherwise} in ${PATIENCE_MS} ms`)), PATIENCE_MS)
  })
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
