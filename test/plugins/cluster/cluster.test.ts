import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { after, before, test } from 'node:test'
import type { ClusterReport } from '../../../plugins/cluster/report.ts'
import type { Readiness } from '../../../plugins/health/checks.ts'
import { replaceSystemClock } from '../../../protocol/clock.ts'
import { drop, listenTcp, readAll, type TestProxy, until } from '../../support/proxy.ts'
import { seededChunks, seededSha256 } from '../../support/random.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { Cleanup, type Scope } from '../../support/scope.ts'
import { type Sshd, startSshd } from '../../support/sshd.ts'
import { requireSystem } from '../../support/system.ts'
import { RawClient } from '../links/raw-client.ts'
import { startReplica, startReplicas, UPGRADE } from './replicas.ts'

const skip = requireSystem('redis-server', 'sshd')
const BYTES = 6 * 1_048_576

const cleanup = new Cleanup()
let redis: RedisServer
let sshd: Sshd
let echo: string
before(async () => {
  if (skip !== undefined) return
  redis = await startRedis(cleanup)
  sshd = await startSshd(cleanup)
  echo = await listenTcp(cleanup, (socket) => socket.pipe(socket))
})
after(() => cleanup.close())

/** Time stands still for all in this process until `go`: what waits for some seconds at most has not waited them yet. */
function holdTime(t: Scope): { go(): void } {
  const heldAtMs = performance.now()
  let heldForMs: number | undefined
  const clock = {
    now: () => (heldForMs === undefined ? heldAtMs : performance.now() - heldForMs),
    setTimer: (callback: () => void, ms: number) => setTimeout(callback, ms).unref(),
    clearTimer: (timer: unknown) => clearTimeout(timer as NodeJS.Timeout),
  }
  t.after(replaceSystemClock(clock))
  return {
    go: () => {
      heldForMs = performance.now() - heldAtMs
    },
  }
}

const start = (t: Scope, ...ids: string[]) => startReplicas(t, redis, ids)

/** Echoes seeded bytes; after each step of what has come back, the next of `events` happens. */
async function checkEcho(stream: Duplex, seed: string, events: (() => unknown)[] = []): Promise<void> {
  const write = async (): Promise<void> => {
    for (const chunk of seededChunks(seed, BYTES)) if (!stream.write(chunk)) await once(stream, 'drain')
    stream.end()
  }
  const read = async (): Promise<string> => {
    const hash = createHash('sha256')
    const step = BYTES / (events.length + 1)
    let bytes = 0
    let happened = 0
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      hash.update(chunk)
      bytes += chunk.length
      while (happened < events.length && bytes >= step * (happened + 1)) await events[happened++]?.()
    }
    assert.equal(happened, events.length)
    return hash.digest('hex')
  }
  const [sha256] = await Promise.all([read(), write()])
  assert.equal(sha256, seededSha256(seed, BYTES))
}

test('a machine whose agent is at one replica is reached through another, sealed and inspected', {
  skip,
}, async (t) => {
  const [a, b] = (await start(t, 'a', 'b')) as [TestProxy, TestProxy]
  await a.startAgent('home', 'alice', sshd, { allow: [echo] })
  const client = await b.connect('alice')
  await checkEcho(await client.open({ machine: 'home', kind: 'ssh', target: echo }), 'sealed')
  await checkEcho(await client.open({ machine: 'home', kind: 'tcp', target: echo }), 'inspected')
  const { stdout, exitCode } = await client.exec('home', ['echo', 'far'])
  assert.deepEqual([String(stdout), exitCode], ['far\n', 0])
  const { replicas } = (await (
    await b.api(undefined, 'diagnostics', { token: b.tokenOf('root', { roles: ['admin'] }) })
  ).json()) as { replicas: { id: string; draining: boolean }[] }
  assert.deepEqual(
    replicas.map(({ id, draining }) => [id, draining]),
    [['a', false]],
  )
  const report = async (): Promise<ClusterReport> => {
    const asked = await b.api(undefined, 'cluster', { token: b.tokenOf('root', { roles: ['admin'] }) })
    return (await asked.json()) as ClusterReport
  }
  // Each tells the others of its links.
  await until(async () => (await report()).replicas.every(({ peers }) => peers?.length === 1))
  const { replicas: known, machines, ...told } = await report()
  assert.deepEqual(told, {
    ...{ enabled: true, id: 'b', isWorker: false, isStarting: false },
    ...{ stateAvailable: true, missing: [], machineCount: 1 },
  })
  assert.deepEqual(
    known.map(({ id, peers }) => [id, peers]),
    [
      ['b', ['a']],
      ['a', ['b']],
    ],
  )
  assert.deepEqual(
    machines.map(({ owner, name, homes, route }) => ({ owner, name, homes, route })),
    [{ owner: 'alice', name: 'home', homes: ['a'], route: 'a' }],
  )
  assert.equal((await b.api(undefined, 'cluster', { token: b.tokenOf('alice') })).status, 403)
  assert.equal(await b.metric('tunnel_cluster_replicas'), 2)
  assert.equal(await b.metric('tunnel_cluster_routes'), 1)
  assert.equal(await a.metric('tunnel_cluster_routes'), 0)
  // The sealed stream, and the one SSH connection of all that was inspected.
  assert.equal(await a.metric('tunnel_relay_hops_total'), 2)
  // It is counted where its client is, and nowhere else.
  await until(async () => (await b.metric('tunnel_requests_total')) === 3)
  assert.equal(await a.metric('tunnel_requests_total'), 0)
})

test('a stream goes on when its home leaves, when its client comes by another replica, and when its agent does', {
  skip,
}, async (t) => {
  const [a, b, c] = (await start(t, 'a', 'b', 'c')) as [TestProxy, TestProxy, TestProxy]
  await a.startAgent('home', 'alice', sshd, { urls: [a.url, c.url], allow: [echo] })
  await until(() => c.app.machines.agents.own('alice', 'home') !== undefined)
  const client = await b.connect('alice', { url: [b.url, c.url] })
  const stream = await client.open({ machine: 'home', kind: 'ssh', target: echo })
  await checkEcho(stream, 'moves', [
    // Whichever home has it.
    () => a.cut('agent'),
    () => a.close(),
    () => b.cut('client'),
    async () => {
      // As with SIGTERM: asked to go, and gone before anything is closed.
      await b.app.lifecycle.drain(20_000)
      await b.close()
    },
    () => c.cut('client', 'agent'),
  ])
})

test('replicas that are told to stop at once leave one after another, and send on who comes to one that leaves', {
  skip,
}, async (t) => {
  const [a, b, c] = (await start(t, 'a', 'b', 'c')) as [TestProxy, TestProxy, TestProxy]
  const drain = ({ app }: TestProxy) => app.lifecycle.drain(60_000)
  const isLeaving = ({ app }: TestProxy) => app.lifecycle.draining
  // It knows no other address, and is waited for.
  const client = await a.connect('alice')
  const accepted = once(a.app.server, 'connection') as Promise<[Socket]>
  const late = connect(a.port, '127.0.0.1')
  late.write('GET /api/tunnel/connect HTTP/1.1\r\nhost: a\r\n')
  // A connection that has asked for nothing yet is closed by a replica that leaves.
  const [begun] = await accepted
  await until(() => begun.bytesRead > 0)
  const leaves = drain(a)
  await until(() => isLeaving(a))
  const [next, last] = [drain(b), drain(c)]
  const upgrade = [`authorization: Bearer ${a.tokenOf('bob')}`, ...UPGRADE]
  late.write(`${upgrade.join('\r\n')}\r\n\r\n`)
  const answer = String(await readAll(late))
  assert.match(answer, /^HTTP\/1.1 503 .*\r\nretry-after: 0\r\n.*SHUTTING_DOWN/s)
  // The others go on as ever.
  await (await b.connect('bob')).disconnect()
  await (await c.connect('bob')).disconnect()
  assert.deepEqual([isLeaving(b), isLeaving(c)], [false, false])
  await client.disconnect()
  await leaves
  await until(() => isLeaving(b) || isLeaving(c))
  await Promise.all([next, last])
  // Without Redis nobody can be waited for.
  const [d, e] = (await start(t, 'd', 'e')) as [TestProxy, TestProxy]
  const other = await d.connect('alice')
  const goes = drain(d)
  await until(() => isLeaving(d))
  const too = drain(e)
  redis.program.kill('SIGSTOP')
  await too
  redis.program.kill('SIGCONT')
  await other.disconnect()
  await goes
})

test('an agent behind a load balancer is at home on two replicas, and its clone is ended on both', {
  skip,
}, async (t) => {
  const [a, b] = (await start(t, 'a', 'b')) as [TestProxy, TestProxy]
  // No stickiness: each connection goes to the other one.
  let count = 0
  const balancer = await listenTcp(t, (socket) => {
    // Twice to the same, so that the second dial is one that is refused.
    const to = connect(Math.floor(count++ / 2) % 2 === 0 ? a.port : b.port, '127.0.0.1')
    for (const [from, into] of [
      [socket, to],
      [to, socket],
    ] as const)
      from
        .on('error', () => {})
        .once('close', () => into.destroy())
        .pipe(into)
  })
  const isHome = ({ app }: TestProxy) => app.machines.agents.own('alice', 'home') !== undefined
  const instanceAt = ({ app }: TestProxy) => app.machines.agents.own('alice', 'home')?.peer?.instance
  const urls = [`http://${balancer}`]
  const agent = await a.startAgent('home', 'alice', sshd, { urls })
  await until(() => isHome(a) && isHome(b))
  assert.equal(instanceAt(a), instanceAt(b))
  assert.equal(await b.metric('tunnel_cluster_routes'), 0)
  const clone = await a.startAgent('home', 'alice', sshd, { urls: [b.url] })
  assert.equal((await agent.done)?.code, 'TAKEN_OVER')
  await until(() => instanceAt(a) === undefined && isHome(b))
  await clone.close()
})

test('an older program that comes to one replica while a later one is at another does not get its name, on either', {
  skip,
}, async (t) => {
  const [a, b] = (await start(t, 'a', 'b')) as [TestProxy, TestProxy]
  const agentOf = async (epoch: number, at: TestProxy) => {
    const raw = new RawClient(t, { url: at.url, route: 'agent', token: a.tokenOf('alice') })
    const enrol = { hostKeys: [], sshUser: 'm' }
    await raw
      .hello({ role: 'agent', machine: 'twice', instance: `started-${epoch}`, epoch, enrol })
      .catch(() => {})
    return raw
  }
  const epochAt = ({ app }: TestProxy) =>
    [...app.machines.agents.everywhere()].find(({ name }) => name === 'twice')?.program.epoch
  const later = await agentOf(7, b)
  await until(() => epochAt(a) === 7)
  const older = await agentOf(6, a)
  assert.equal((await older.closed).code, 4409)
  assert.deepEqual([epochAt(a), epochAt(b)], [7, 7])
  assert.equal(later.socket.readyState, later.socket.OPEN)
  await agentOf(8, a)
  assert.equal((await later.closed).code, 4409)
  await until(() => epochAt(b) === 8)
})

test('replicas that start at once and have no port for each other are linked, each to each, when all are ready', {
  skip,
}, async (t) => {
  await redis.admin.flushall()
  // However long their links take, none is ready because it has waited for long enough.
  holdTime(t)
  const ids = ['x', 'y', 'z']
  const replicas = await Promise.all(ids.map((id) => startReplica(t, redis, { id, isShared: true })))
  for (const replica of replicas) await until(async () => (await replica.api(undefined, 'health/ready')).ok)
  assert.deepEqual(
    replicas.map(({ app }) => app.cluster?.size),
    [3, 3, 3],
  )
})

test('from when the last of a fresh cluster is ready, each knows of all, and says to whom it has no link', {
  skip,
}, async (t) => {
  await redis.admin.flushall()
  const ids = ['k', 'l', 'm']
  // In every order: the one with the smaller id dials.
  for (const order of [ids, [...ids].reverse()]) {
    const replicas: TestProxy[] = []
    for (const id of order) replicas.push(await startReplica(t, redis, { id }))
    await until(() => replicas.at(-1)?.app.cluster?.overview(0).isStarting === false)
    for (const { app } of replicas) {
      const { replicas: linked = [], missing = [] } = app.cluster?.overview(0) ?? {}
      assert.deepEqual([...linked.map(({ id }) => id), ...missing].sort(), ids)
    }
    for (const replica of replicas) await replica.close()
  }
})

test('a replica that is ready is in the mesh, though Redis goes before the others have heard of it', {
  skip,
}, async (t) => {
  const [a] = (await start(t, 'a')) as [TestProxy]
  await a.startAgent('home', 'alice', sshd, { allow: [echo] })
  // They cannot dial it at all; so it has to.
  const late = await startReplica(t, redis, { id: 'late', url: 'http://127.0.0.1:1', sharing: a })
  await until(async () => (await late.api(undefined, 'health/ready')).ok)
  assert.equal(late.app.cluster?.size, 2)
  redis.program.kill('SIGSTOP')
  t.after(() => redis.program.kill('SIGCONT'))
  const client = await late.connect('alice')
  await checkEcho(await client.open({ machine: 'home', kind: 'ssh', target: echo }), 'late')
})

test('a replica that starts waits for its links, and not for ever for one that is dead', {
  skip,
}, async (t) => {
  const [a] = (await start(t, 'a')) as [TestProxy]
  await a.app.state.volatile.put('replica', 'dead', { url: 'http://127.0.0.1:1' }, { ttlMs: 60_000 })
  const time = holdTime(t)
  const b = await startReplica(t, redis, { id: 'b', sharing: a })
  const ready = async () => {
    const answer = await b.api(undefined, 'health/ready')
    return [answer.status, ((await answer.json()) as Readiness).checks.cluster?.status]
  }
  await until(() => b.app.cluster?.size === 2)
  assert.deepEqual(await ready(), [503, 'failed'])
  const told = ({ app }: TestProxy) => {
    const { isStarting, missing } = app.cluster?.overview(0) ?? {}
    return { isStarting, missing }
  }
  assert.deepEqual(told(b), { isStarting: true, missing: ['dead'] })
  time.go()
  await until(async () => (await ready())[0] === 200)
  assert.deepEqual(told(b), { isStarting: false, missing: ['dead'] })
  // What is lost later does not make it unready.
  await a.close()
  await until(() => b.app.cluster?.size === 1)
  assert.deepEqual(await ready(), [200, 'ok'])
})

test('a Redis that comes back empty breaks no stream, and is told of the machines again', {
  skip,
}, async (t) => {
  const [a, b] = (await start(t, 'a', 'b')) as [TestProxy, TestProxy]
  await a.startAgent('home', 'alice', sshd, { allow: [echo] })
  const client = await b.connect('alice')
  const open = () => client.open({ machine: 'home', kind: 'ssh', target: echo })
  await until(() => b.app.machines.find('alice', 'home')?.online === true)
  await checkEcho(await open(), 'wiped', [
    () => redis.program.kill('SIGSTOP'),
    // It is known to the mesh.
    async () => drop(await open()),
    () => redis.restart(),
  ])
  const isTold = ({ app }: TestProxy) =>
    app.state.get('machine', 'alice home').then(
      (record) => record !== undefined,
      () => false,
    )
  await until(() => isTold(b))
  assert.equal(b.app.machines.find('alice', 'home')?.online, true)
  await checkEcho(await open(), 'after')
  assert.equal(await b.metric('tunnel_state_available'), 1)
})
