import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { resolveSettings } from '../../../client/settings.ts'
import { startRoundRobin } from '../../chaos/cluster/balancer.ts'
import { startNginx } from '../../support/nginx.ts'
import { drop, listenTcp, type TestProxy, until } from '../../support/proxy.ts'
import { seededChunks } from '../../support/random.ts'
import { startRedis } from '../../support/redis.ts'
import type { Scope } from '../../support/scope.ts'
import { requireSystem } from '../../support/system.ts'
import { startReplicas } from './replicas.ts'

const MIB = 1_048_576
const overHttp = { network: { transport: 'http' as const } }

/** By connection, whoever it is from; and by request, as most balancers that speak HTTP. */
const BALANCERS = {
  async connections(scope: Scope, replicas: readonly TestProxy[]): Promise<string> {
    const balancer = await startRoundRobin(scope)
    await balancer.route(replicas.map(({ port }) => port))
    return balancer.url
  },
  async requests(scope: Scope, replicas: readonly TestProxy[]): Promise<string> {
    const servers = replicas.map(({ port }) => `server 127.0.0.1:${port};`).join(' ')
    const passes = 'location / { proxy_pass http://replicas; proxy_buffering off; }'
    const { host, port } = await startNginx(scope, passes, `upstream replicas { ${servers} }`)
    return `http://${host}:${port}`
  },
}

for (const [what, startBalancer] of Object.entries(BALANCERS)) {
  test(`over HTTP streaming a stream goes on, byte exact, behind a balancer that hands ${what} out in turn`, {
    skip: requireSystem('redis-server', 'nginx'),
  }, async (t) => {
    const replicas = await startReplicas(t, await startRedis(t), ['a', 'b', 'c'])
    const url = await startBalancer(t, replicas)
    const [a] = replicas as [TestProxy]
    const echo = await listenTcp(t, (socket) => socket.pipe(socket))
    const settings = resolveSettings({}, 'default', { ...overHttp, backoff: { baseMs: 20, maxMs: 200 } })
    const said: string[] = []
    await a.startAgent('home', 'alice', '127.0.0.1:1', {
      ...{ urls: [url], allow: [echo], settings },
      log: (_level, message) => void said.push(message),
    })
    const isAt = ({ app }: TestProxy) => app.machines.agents.own('alice', 'home') !== undefined
    await until(() => replicas.filter(isAt).length === 2)
    const client = await a.connect('alice', { url, settings: overHttp })
    const lost: string[] = []
    client.on('link-lost', ({ message }) => void lost.push(message))
    assert.equal(client.link?.transport, 'http')
    const stream = await client.open({ machine: 'home', kind: 'ssh', target: echo })
    const sent = Buffer.concat([...seededChunks(what, 4 * MIB)])
    const received: Buffer[] = []
    let bytes = 0
    stream.on('data', (chunk: Buffer) => {
      received.push(chunk)
      bytes += chunk.length
    })
    stream.write(sent)
    await until(() => bytes === sent.length, 60_000)
    assert.ok(Buffer.concat(received).equals(sent))
    for (let key = 0; key < 20; key++) {
      const answer = once(stream, 'data')
      stream.write('k')
      await answer
    }
    assert.deepEqual(lost, [])
    drop(stream)
  })
}
