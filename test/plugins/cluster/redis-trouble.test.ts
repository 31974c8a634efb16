import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { after, before, test } from 'node:test'
import type { TunnelService } from '../../../client/index.ts'
import type { User } from '../../../plugins/auth/index.ts'
import { firstRefreshToken } from '../../../plugins/auth/refresh-tokens.ts'
import type { FaultRelay } from '../../chaos/fault-relay.ts'
import { drop, listenTcp, type TestProxy, until } from '../../support/proxy.ts'
import { type RedisServer, startReplicated } from '../../support/redis.ts'
import { Cleanup } from '../../support/scope.ts'
import { requireSystem } from '../../support/system.ts'
import { RawClient } from '../links/raw-client.ts'
import { startBehindLine, startReplica, startReplicas } from './replicas.ts'

const skip = requireSystem('redis-server')
const BURST = 30
const LIMITS = ['rateLimit.tiers.free.perMinute=1', `rateLimit.tiers.free.burst=${BURST}`]

const cleanup = new Cleanup()
let redis: RedisServer
/** Between the replicas and Redis. */
let line: FaultRelay
let echo: string
let replicas: [TestProxy, TestProxy, TestProxy]
before(async () => {
  if (skip !== undefined) return
  echo = await listenTcp(cleanup, (socket) => socket.pipe(socket))
  const started = await startBehindLine(cleanup, LIMITS)
  redis = started.redis
  line = started.line
  replicas = started.replicas
  await replicas[0].startAgent('home', 'alice', '127.0.0.1:1', { allow: [echo] })
  await until(() => replicas.every(({ app }) => app.machines.find('alice', 'home')?.online === true))
})
after(() => cleanup.close())

const isAvailable = ({ app }: TestProxy) => app.state.isAvailable !== false
const open = (client: TunnelService) => client.open({ machine: 'home', kind: 'ssh', target: echo })

async function checkEcho(stream: Duplex): Promise<void> {
  stream.write('well')
  assert.equal(String((await once(stream, 'data'))[0]), 'well')
}

/** How many of `each` streams, asked for on every replica at once, the bucket lets through in all. */
async function allowed(sub: string, each: number): Promise<number> {
  const user: User = { sub, tier: 'free', roles: [], expiresAtMs: Number.POSITIVE_INFINITY }
  const asked = replicas.flatMap(({ app }) =>
    Array.from({ length: each }, () => app.rateLimits.takeStream(user)),
  )
  return (await Promise.allSettled(asked)).filter(({ status }) => status === 'fulfilled').length
}

/** Streams of which its audit trail tells that they are over. */
async function auditedAt({ settings }: TestProxy): Promise<number> {
  const trail = await readFile(join(settings.state.dir, 'audit.log'), 'utf8')
  return trail.split('"stream.closed"').length - 1
}

/** What a POST is refused with: status, code and whether it says when to come again. */
async function refusal(answer: Response): Promise<unknown[]> {
  const { code } = (await answer.json()) as { code: string }
  return [answer.status, code, Number(answer.headers.get('retry-after')) > 0]
}

test('while a master of Redis fails and its copy takes its place, streams and OPENs go on, and what was shared is there', {
  skip,
}, async (t) => {
  const { master, sentinel } = await startReplicated(t)
  const bySentinel = { ...master, url: master.url.replace(String(master.port), '1') }
  const set = [`state.sentinels=["${sentinel}"]`]
  const [a, b] = (await startReplicas(t, bySentinel, ['a', 'b'], set)) as [TestProxy, TestProxy]
  await a.startAgent('home', 'alice', '127.0.0.1:1', { allow: [echo] })
  await until(() => b.app.machines.find('alice', 'home')?.online === true)
  const client = await b.connect('alice')
  const stream = await open(client)
  await checkEcho(stream)
  const revoked = b.tokenOf('mallory')
  assert.equal(
    (await a.api(undefined, 'auth/revoke', { method: 'POST', token: revoked, body: {} })).status,
    204,
  )
  await master.admin.wait(1, 10_000)
  master.program.kill('SIGKILL')
  let opens = 0
  const ticket = () => a.api('alice', 'auth/ticket', { method: 'POST' })
  await until(async () => {
    await checkEcho(stream)
    const next = await open(client)
    await checkEcho(next)
    drop(next)
    opens++
    return (await ticket()).ok
  })
  // The first began when there was no master; on a busy computer there may be one by its end.
  t.diagnostic(`${opens} streams were opened meanwhile`)
  drop(stream)
  // As a replica that starts now reads it.
  const late = await startReplica(t, bySentinel, { id: 'late', sharing: a, set })
  const answer = await late.api(undefined, 'machines', { token: revoked })
  assert.equal(((await answer.json()) as { code: string }).code, 'TOKEN_REVOKED')
  assert.equal(late.app.machines.find('alice', 'home')?.name, 'home')
})

const AWAY = [503, 'STATE_UNAVAILABLE', true]

const TROUBLES: Record<string, { begin(): unknown; end(): unknown }> = {
  'is away': { begin: () => line.freeze(), end: () => line.thaw() },
  'takes a second for each answer': { begin: () => line.delay(1_000), end: () => line.delay(0) },
  'is full': {
    begin: () => redis.admin.config('SET', 'maxmemory', '1'),
    end: () => redis.admin.config('SET', 'maxmemory', '0'),
  },
}

for (const [trouble, { begin, end }] of Object.entries(TROUBLES)) {
  test(`while Redis ${trouble}, streams and OPENs go on, limits are shared out, and what needs a record is refused`, {
    skip,
  }, async (t) => {
    const [a, b] = replicas
    const client = await b.connect('alice')
    const stream = await open(client)
    t.after(() => drop(stream))
    await checkEcho(stream)
    await begin()
    t.after(end)
    await checkEcho(stream)
    // Whoever finds out waits for a second.
    await Promise.all(replicas.map((replica) => replica.api('alice', 'auth/ticket', { method: 'POST' })))
    assert.deepEqual(replicas.map(isAvailable), [false, false, false])
    assert.equal(await b.metric('tunnel_state_available'), 0)
    const beganMs = performance.now()
    const next = await open(client)
    await checkEcho(next)
    t.diagnostic(`a stream is open, and has echoed, after ${Math.round(performance.now() - beganMs)} ms`)
    assert.equal(await allowed(trouble, BURST), BURST)
    const audited = await auditedAt(b)
    drop(next)
    await until(async () => (await auditedAt(b)) === audited + 1)

    assert.deepEqual(await refusal(await a.api('alice', 'auth/ticket', { method: 'POST' })), AWAY)
    const token = firstRefreshToken(a.settings.auth, { sub: 'alice' })
    const refreshed = a.api(undefined, 'auth/refresh', { method: 'POST', body: { refreshToken: token } })
    assert.deepEqual(await refusal(await refreshed), AWAY)
    const stranger = new RawClient(t, { url: b.url, route: 'agent', token: b.tokenOf('dora') })
    await stranger
      .hello({ role: 'agent', machine: 'new', epoch: 1, enrol: { hostKeys: [], sshUser: 'd' } })
      .catch(() => {})
    assert.match((await stranger.closed).reason, /STATE_UNAVAILABLE/)
    assert.equal(b.app.machines.find('dora', 'new'), undefined)
    // One that is known comes again.
    const [agentsBefore] = [a.app.machines.agents.own('alice', 'home')]
    a.cut('agent')
    await until(() => ![undefined, agentsBefore].includes(a.app.machines.agents.own('alice', 'home')))
    await checkEcho(stream)
    assert.equal((await b.api(undefined, 'health/ready')).status, 200)
    await end()
    await until(async () => (await b.api('alice', 'auth/ticket', { method: 'POST' })).ok)
    await until(() => replicas.every(isAvailable))
  })
}
