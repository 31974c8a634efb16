import assert from 'node:assert/strict'
import { test } from 'node:test'
import { drop, listenTcp, type TestProxy, until } from '../../support/proxy.ts'
import { startRedis } from '../../support/redis.ts'
import { requireSystem } from '../../support/system.ts'
import { startReplicas } from './replicas.ts'

test('a stream for a machine with two homes goes to the one that carries less', {
  skip: requireSystem('redis-server'),
}, async (t) => {
  const redis = await startRedis(t)
  const [a, b, c] = (await startReplicas(t, redis, ['a', 'b', 'c'])) as [TestProxy, TestProxy, TestProxy]
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await a.startAgent('home', 'alice', '127.0.0.1:1', { urls: [a.url, b.url], allow: [echo] })
  const hold = async (proxy: TestProxy, count: number): Promise<void> => {
    const client = await proxy.connect('alice')
    for (let held = 0; held < count; held++) {
      const stream = await client.open({ machine: 'home', kind: 'ssh', target: echo })
      t.after(() => drop(stream))
    }
  }
  const known = (id: string) => c.app.cluster?.list().find((other) => other.id === id)
  await until(() => c.app.cluster?.overview(1).machines[0]?.homes.length === 2)
  // What a replica carries is told within 5 s.
  await hold(a, 2)
  await until(() => known('a')?.load === 2)
  await hold(c, 1)
  assert.deepEqual([known('a')?.streams, known('b')?.streams], [0, 1])
  await hold(b, 4)
  await until(() => (known('b')?.load ?? 0) >= 4)
  await hold(c, 1)
  assert.deepEqual([known('a')?.streams, known('b')?.streams], [1, 1])
  // Those that were opened since count before they are told: of many at once not all go to one.
  await hold(c, 8)
  assert.ok((known('b')?.streams ?? 0) > 1, JSON.stringify(c.app.cluster?.list()))
})
