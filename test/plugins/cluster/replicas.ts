import { FaultRelay } from '../../chaos/fault-relay.ts'
import { type ProxyOptions, startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import type { Scope } from '../../support/scope.ts'
import { freePort } from '../../support/system.ts'

export const CLUSTER_SECRET = 'a-secret-of-replicas-that-is-long-enough'

/** The headers by which a link to a proxy is asked for, whatever its route. */
export const UPGRADE = [
  ...['connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 13'],
  ...['sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-protocol: tunnel.v1'],
]

export interface ReplicaOptions extends Pick<ProxyOptions, 'sharing' | 'plugins'> {
  id: string
  /** @default CLUSTER_SECRET */
  secret?: string
  /** Where others are; by default they find each other in Redis. */
  peers?: string[]
  /** For links between replicas. @default one that is free */
  port?: number
  /** There is none: they come to the port that is everybody's. */
  isShared?: boolean
  /** By which the others reach it. @default its port */
  url?: string
  set?: string[]
}

/** A replica inside the test's process, which others find by Redis. */
export async function startReplica(
  scope: Scope,
  redis: RedisServer,
  { id, secret = CLUSTER_SECRET, peers, set = [], isShared = false, ...options }: ReplicaOptions,
): Promise<TestProxy> {
  const { port = await freePort(), url = `http://127.0.0.1:${port}`, ...more } = options
  return startProxy(scope, {
    ...more,
    ...(isShared && { port }),
    set: [
      ...['state.store=redis', `state.redisUrl=${redis.url}`],
      ...['cluster.enabled=true', `cluster.id=${id}`, `cluster.secret=${secret}`],
      ...(isShared ? [] : [`cluster.port=${port}`]),
      ...(peers === undefined ? [`cluster.url=${url}`] : [`cluster.peers=${JSON.stringify(peers)}`]),
      ...set,
    ],
  })
}

/** Resolves when each of them has a link to each other. */
export async function meshed(...replicas: TestProxy[]): Promise<void> {
  await until(() => replicas.every(({ app }) => app.cluster?.size === replicas.length))
}

/** Replicas that share their secrets, on a Redis that is emptied before, each linked to each. */
export async function startReplicas(
  scope: Scope,
  redis: RedisServer,
  ids: string[],
  set: string[] = [],
): Promise<TestProxy[]> {
  await redis.admin.flushall()
  const replicas: TestProxy[] = []
  for (const id of ids) {
    const [first] = replicas
    replicas.push(
      await startReplica(scope, redis, { id, set, ...(first !== undefined && { sharing: first }) }),
    )
  }
  await meshed(...replicas)
  return replicas
}

/** Three replicas on a Redis that they reach through a line which a test can cut. */
export async function startBehindLine(
  scope: Scope,
  set: string[],
): Promise<{ redis: RedisServer; line: FaultRelay; replicas: [TestProxy, TestProxy, TestProxy] }> {
  const redis = await startRedis(scope)
  const line = await FaultRelay.listen(scope, { target: { host: '127.0.0.1', port: redis.port } })
  const behindLine = { ...redis, url: redis.url.replace(String(redis.port), String(line.port)) }
  const replicas = await startReplicas(scope, behindLine, ['a', 'b', 'c'], set)
  return { redis, line, replicas: replicas as [TestProxy, TestProxy, TestProxy] }
}
