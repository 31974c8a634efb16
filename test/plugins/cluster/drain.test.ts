import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { TunnelService } from '../../../client/index.ts'
import { DrainTurn } from '../../../plugins/cluster/drain-turn.ts'
import { drop, type TestProxy, until } from '../../support/proxy.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { Cleanup } from '../../support/scope.ts'
import { startHalves } from '../../support/service.ts'
import { type Sshd, startSshd } from '../../support/sshd.ts'
import { requireSystem } from '../../support/system.ts'
import { startReplica, startReplicas } from './replicas.ts'

const skip = requireSystem('redis-server', 'sshd')

const cleanup = new Cleanup()
let redis: RedisServer
let sshd: Sshd
before(async () => {
  if (skip !== undefined) return
  redis = await startRedis(cleanup)
  sshd = await startSshd(cleanup)
})
after(() => cleanup.close())

/** How often a replica that leaves looks whom it waits for. */
const LOOK_MS = 200

const isHome = ({ app }: TestProxy) => app.machines.agents.own('alice', 'home') !== undefined

test('a command and a request that end at the replica that leaves finish there, and new ones go elsewhere at once', {
  skip,
}, async (t) => {
  const [a, b, c] = (await startReplicas(t, redis, ['a', 'b', 'c'])) as [TestProxy, TestProxy, TestProxy]
  // The replica that leaves has none of its homes, so that their SSH connections go through another one.
  await a.startAgent('home', 'alice', sshd, { urls: [a.url, b.url] })
  await until(() => isHome(a) && isHome(b))
  const { port, finish } = await startHalves(t)
  const url = `http://home:${port}/`
  const client = await c.connect('alice', { url: [c.url, a.url] })
  const stdin = new PassThrough()
  const command = client.exec('home', ['cat'], { stdin })
  stdin.write('before ')
  const response = await client.fetch(url)
  await until(() => c.app.forward.overview.list('alice').length === 2)
  const first = client.link
  let hasLeft = false
  const drained = c.app.lifecycle.drain(60_000).then(() => {
    hasLeft = true
  })
  await until(() => client.link !== first)
  const { stdout } = await client.exec('home', ['echo', 'elsewhere'])
  assert.equal(String(stdout), 'elsewhere\n')
  await until(async () => (await a.metric('tunnel_requests_total')) === 1)
  assert.equal(hasLeft, false)
  stdin.end('after')
  finish()
  assert.equal(await response.text(), 'first last')
  const { stdout: both, exitCode } = await command
  assert.deepEqual([String(both), exitCode], ['before after', 0])
  await drained
})

test('a client that opens something at a replica that leaves, before it was asked to move, is asked at once: that much is served, and the next goes elsewhere', {
  skip,
}, async (t) => {
  const set = ['drain.spreadMs=600000']
  const [a, c] = (await startReplicas(t, redis, ['a', 'c'], set)) as [TestProxy, TestProxy]
  await a.startAgent('home', 'alice', sshd, { urls: [a.url] })
  await until(() => c.app.machines.find('alice', 'home')?.online === true)
  const clients = await Promise.all([1, 2, 3].map(() => c.connect('alice', { url: [c.url, a.url] })))
  const [typing, working, idle] = clients as [TunnelService, TunnelService, TunnelService]
  const firsts = clients.map(({ link }) => link)
  // Clients would be asked after 50 s at the earliest.
  const draining = c.app.lifecycle.drain(400_000)
  await until(() => a.app.cluster?.list().some(({ draining }) => draining) === true)

  const sealed = await typing.open({ machine: 'home', kind: 'ssh' })
  t.after(() => drop(sealed))
  assert.match(String((await once(sealed, 'data'))[0]), /^SSH-2\.0/)
  await until(() => typing.link !== firsts[0])
  // It has moved with its client, and its bytes go on.
  const isCarried = ({ state, connectionId }: { state: string; connectionId: string }): boolean =>
    state === 'open' && !connectionId.startsWith('relay:')
  await until(() => a.app.forward.overview.list('alice').some(isCarried))
  sealed.write('SSH-2.0-nobody\r\n')
  await once(sealed, 'data')

  const stdin = new PassThrough()
  const command = working.exec('home', ['cat'], { stdin })
  await until(() => working.link !== firsts[1])
  const commands = ({ app }: TestProxy) =>
    app.forward.overview.list('alice').filter(({ kind }) => kind === 'exec').length
  assert.deepEqual([commands(a), commands(c)], [0, 1])
  assert.equal(String((await working.exec('home', ['echo', 'elsewhere'])).stdout), 'elsewhere\n')
  assert.equal(commands(c), 1)
  stdin.end('here')
  assert.equal(String((await command).stdout), 'here')

  // Nobody is cut off who has not been asked, also when all others would have had the time to move.
  const { now } = performance
  t.mock.method(performance, 'now', () => now.call(performance) + 40_000)
  await delay(3 * LOOK_MS)
  assert.equal(idle.link, firsts[2])
  c.app.lifecycle.drain(0)
  await draining
})

test('a command goes on when the home leaves by which its SSH connection goes', { skip }, async (t) => {
  const [a, b, c] = (await startReplicas(t, redis, ['a', 'b', 'c'])) as [TestProxy, TestProxy, TestProxy]
  await a.startAgent('home', 'alice', sshd, { urls: [a.url, b.url] })
  await until(() => isHome(a) && isHome(b))
  const client = await c.connect('alice')
  const stdin = new PassThrough()
  const command = client.exec('home', ['cat'], { stdin })
  stdin.write('before ')
  await until(() => c.app.cluster?.list().some(({ streams }) => streams === 1) === true)
  const busy = c.app.cluster?.list().find(({ streams }) => streams === 1)?.id
  const leaving = busy === 'a' ? a : b
  await leaving.app.lifecycle.drain(60_000)
  await leaving.close()
  stdin.end('after')
  const { stdout, exitCode } = await command
  assert.deepEqual([String(stdout), exitCode], ['before after', 0])
})

test('a command whose replica dies ends with an error that says so, and the next one goes by another', {
  skip,
}, async (t) => {
  const [a, b] = (await startReplicas(t, redis, ['a', 'b'])) as [TestProxy, TestProxy]
  await a.startAgent('home', 'alice', sshd, { urls: [a.url] })
  await until(() => b.app.machines.find('alice', 'home')?.online === true)
  const client = await b.connect('alice', { url: [b.url, a.url] })
  const stdin = new PassThrough()
  const command = client.exec('home', ['cat'], { stdin })
  stdin.write('before')
  await until(() => b.app.forward.overview.list('alice').length === 1)
  const ended = assert.rejects(command, ({ code }: { code: string }) => {
    t.diagnostic(`told ${code}`)
    return code !== 'INTERNAL'
  })
  b.cut('client')
  await b.close()
  await ended
  assert.equal(String((await client.exec('home', ['echo', 'on'])).stdout), 'on\n')
})

test('when a replica has died in its turn, the next one has it after its end', { skip }, async (t) => {
  const replica = await startReplica(t, redis, { id: 'only' })
  const records = replica.app.state.volatile
  const { signal } = new AbortController()
  // Nobody keeps it, as that process is gone.
  const beganMs = performance.now()
  await records.put('drain', 'turn', 'dead', { ttlMs: 400 })
  const next = new DrainTurn({ records, holder: 'next', isShared: false })
  await next.take(signal)
  // Redis counts by a clock of its own.
  assert.ok(performance.now() - beganMs >= 390)
  const third = new DrainTurn({ records, holder: 'third', isShared: false })
  const waits = third.take(signal)
  assert.equal(await records.get('drain', 'turn'), 'next')
  await next.release()
  await waits
  assert.equal(await records.get('drain', 'turn'), 'third')
  await third.release()
})
