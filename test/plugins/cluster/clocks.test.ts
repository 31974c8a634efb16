import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { TunnelService } from '../../../client/index.ts'
import { firstRefreshToken } from '../../../plugins/auth/refresh-tokens.ts'
import { ReplicaClocks } from '../../../plugins/cluster/clocks.ts'
import { fromWire, toWire } from '../../../plugins/cluster/messages.ts'
import type { ClusterReport } from '../../../plugins/cluster/report.ts'
import type { TunnelError } from '../../../protocol/codec/errors.ts'
import { isolated, startTunnel } from '../../cli/tunnel.ts'
import { drop, listenTcp, type TestProxy, until } from '../../support/proxy.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { requireSystem } from '../../support/system.ts'
import { tempFolder } from '../../support/tree.ts'
import { CLUSTER_SECRET, startReplicas } from './replicas.ts'

const AHEAD_MS = 600_000

/** A process whose clock is ahead, whatever in it asks for the time. */
const PRELOAD = `data:text/javascript,${encodeURIComponent(
  `const D=Date,a=${AHEAD_MS};globalThis.Date=class extends D{constructor(...w){w.length?super(...w):super(D.now()+a)}static now(){return D.now()+a}}`,
)}`

/** A replica with another clock, as a process of its own; with where it listens. */
async function startAhead(t: TestContext, redis: RedisServer, { settings }: TestProxy): Promise<string> {
  const set = [
    ...['state.store=redis', 'cluster.enabled=true', 'cluster.id=ahead', 'server.docs=false'],
    'cluster.port=0',
    `cluster.peers=["http://127.0.0.1:${settings.cluster.port}"]`,
  ]
  const proxy = startTunnel(t, ['server', '--port', '0', ...set.flatMap((each) => ['--set', each])], {
    env: isolated(join(await tempFolder(t, 'ahead'), 'state'), {
      NODE_OPTIONS: `--import=${PRELOAD}`,
      TUNNEL_JWT_SECRET: settings.auth.secret,
      TUNNEL_MASTER_SECRET: settings.ssh.masterSecret,
      TUNNEL_CLUSTER_SECRET: CLUSTER_SECRET,
      TUNNEL_STATE_REDIS_URL: redis.url,
    }),
  })
  const [, url = ''] = await proxy.line(/listening.*(http:\/\/127\.0\.0\.1:\d+)/i)
  await proxy.line(/"aheadMs":-\d+.*the clock of another replica differs/)
  return url
}

test('two replicas whose clocks are ten minutes apart say so, carry streams, and honour no token of a user who was revoked at either', {
  skip: requireSystem('redis-server'),
}, async (t) => {
  const redis = await startRedis(t)
  const [a] = (await startReplicas(t, redis, ['a'])) as [TestProxy]
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await a.startAgent('home', 'alice', '127.0.0.1:1', { allow: [echo] })
  const url = await startAhead(t, redis, a)
  const line = () => a.log.find(({ message }) => /the clock of another replica differs/.test(message))
  await until(() => line() !== undefined)
  const told = line()
  assert.equal(told?.level, 'ERROR')
  assert.equal(told?.context?.peer, 'ahead')
  assert.ok(Math.abs(Number(told?.context?.aheadMs) - AHEAD_MS) < 30_000, JSON.stringify(told?.context))
  const asked = await a.api(undefined, 'cluster', { token: a.tokenOf('root', { roles: ['admin'] }) })
  const { replicas } = (await asked.json()) as ClusterReport
  assert.ok((replicas.find(({ id }) => id === 'ahead')?.clockAheadMs ?? 0) > AHEAD_MS - 30_000)

  // As the other one signs it.
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + AHEAD_MS })
  const theirs = a.tokenOf('alice')
  t.mock.timers.reset()
  const refused = await a.api(undefined, 'machines', { token: theirs })
  assert.equal(((await refused.json()) as { code: string }).code, 'TOKEN_INVALID')
  const codes: Promise<unknown>[] = []
  for (const token of [theirs, a.tokenOf('alice')]) {
    const client = new TunnelService({ url, token })
    t.after(() => client.disconnect(0))
    await client.connect()
    const stream = await client.open({ machine: 'home', kind: 'ssh', target: echo })
    t.after(() => drop(stream))
    stream.write('well')
    assert.equal(String((await once(stream, 'data'))[0]), 'well')
    codes.push(new Promise((resolve) => stream.once('error', ({ code }: TunnelError) => resolve(code))))
  }
  const ended = await a.api('alice', 'auth/revoke', { method: 'POST', body: { sub: 'alice' } })
  assert.equal(ended.status, 204)
  assert.deepEqual(await Promise.all(codes), ['TOKEN_REVOKED', 'TOKEN_REVOKED'])
})

test('an answer to a refresh that was lost is given again by a replica whose clock is ten minutes ahead, and the other way round', {
  skip: requireSystem('redis-server'),
}, async (t) => {
  const redis = await startRedis(t)
  const [a] = (await startReplicas(t, redis, ['a'])) as [TestProxy]
  const ahead = await startAhead(t, redis, a)
  for (const [first, second] of [
    [a.url, ahead],
    [ahead, a.url],
  ] as const) {
    const { secret } = a.settings.auth
    const bearer = { sub: 'alice' }
    const refreshToken = firstRefreshToken({ secret, refreshTtlMs: 86_400_000 }, bearer)
    const requestId = randomUUID()
    const ask = async (url: string, more: object = { requestId }) => {
      const answer = await fetch(`${url}/api/tunnel/auth/refresh`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ refreshToken, ...more }),
      })
      const { code, expiresAt } = (await answer.json()) as { code?: string; expiresAt?: string }
      return { status: answer.status, code, expiresAt }
    }
    const { status, expiresAt } = await ask(first)
    assert.equal(status, 200)
    assert.deepEqual(await ask(second), { status: 200, code: undefined, expiresAt })
    // Whoever has copied it does not know by which name it was asked for.
    assert.equal((await ask(second, { requestId: randomUUID() })).code, 'TOKEN_REVOKED')
    assert.equal((await ask(first)).code, 'TOKEN_REVOKED')
  }
})

test('a token that is revoked is kept in Redis until its end by every clock', {
  skip: requireSystem('redis-server'),
}, async (t) => {
  const redis = await startRedis(t)
  const [a] = (await startReplicas(t, redis, ['a'])) as [TestProxy]
  a.app.auth.told?.spreadClocks(() => ({ aheadMs: 0, behindMs: AHEAD_MS }))
  const token = a.tokenOf('alice', { ttlSeconds: 60 })
  await a.api(undefined, 'auth/revoke', { method: 'POST', token, body: {} })
  const start = 'ssh-websocket-tunnel:kept!revoked!ends'
  const [, endUs = ''] = await redis.admin.zrange(start, '0', '0', 'WITHSCORES')
  assert.ok(Number(endUs) / 1_000 > Date.now() + AHEAD_MS, endUs)
})

test('a replica of an older version says nothing of its clock, and is taken to have the right one', () => {
  const state = { is: 'state', load: 0, draining: false, peers: ['b'] } as const
  const nowMs = Date.now()
  assert.deepEqual(fromWire(state), state)
  assert.deepEqual(fromWire(toWire(state, nowMs + 40) as never, nowMs), { ...state, aheadMs: 40 })
  assert.deepEqual(fromWire({ ...state, clockMs: 'noon' }), state)
})

test('a clock that is years away counts as a day, and one that is seconds away as right', () => {
  const spreadOf = (...aheadMs: number[]) =>
    new ReplicaClocks(
      () => aheadMs.map((each) => ({ state: { aheadMs: each } })) as never,
      () => {},
    ).spread
  assert.deepEqual(spreadOf(20_000, -20_000), { aheadMs: 0, behindMs: 0 })
  assert.deepEqual(spreadOf(600_000, -60_000), { aheadMs: 600_000, behindMs: 60_000 })
  assert.deepEqual(spreadOf(1e12, -1e12), { aheadMs: 86_400_000, behindMs: 86_400_000 })
})
