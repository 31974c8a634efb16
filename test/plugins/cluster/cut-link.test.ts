import assert from 'node:assert/strict'
import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Duplex } from 'node:stream'
import { after, before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { ClusterReport } from '../../../plugins/cluster/report.ts'
import { FaultRelay } from '../../chaos/fault-relay.ts'
import { drop, listenTcp, type TestProxy, until } from '../../support/proxy.ts'
import { startRedis } from '../../support/redis.ts'
import { Cleanup } from '../../support/scope.ts'
import { type Sshd, startSshd } from '../../support/sshd.ts'
import { freePort, requireSystem } from '../../support/system.ts'
import { meshed, startReplica } from './replicas.ts'

const skip = requireSystem('redis-server', 'sshd')

/**
 * docs/CLUSTER.md promises 3 s, which `npm run chaos -- cluster` measures on a computer that does nothing else. A heartbeat
 * would find out after 45.
 */
const LONGEST_MS = 20_000

const cleanup = new Cleanup()
let sshd: Sshd
let echo: string
let a: TestProxy
let b: TestProxy
let c: TestProxy
/** What the link between `a` and `b` goes through, dialled by `a`. */
let between: FaultRelay

before(async () => {
  if (skip !== undefined) return
  const redis = await startRedis(cleanup)
  sshd = await startSshd(cleanup)
  echo = await listenTcp(cleanup, (socket) => socket.pipe(socket))
  const port = await freePort()
  between = await FaultRelay.listen(cleanup, { target: { host: '127.0.0.1', port } })
  // Nobody dials it, so that there is no other way from b to a.
  a = await startReplica(cleanup, redis, { id: 'a', url: 'http://127.0.0.1:1' })
  b = await startReplica(cleanup, redis, { id: 'b', sharing: a, port, url: between.url })
  c = await startReplica(cleanup, redis, { id: 'c', sharing: a })
  await meshed(a, b, c)
  await a.startAgent('home', 'alice', sshd, { allow: [echo] })
  await until(() => isOnline(b) && isOnline(c))
})
after(() => cleanup.close())

const isOnline = ({ app }: TestProxy, name = 'home') => app.machines.find('alice', name)?.online === true
const has = ({ app }: TestProxy, { stream }: { stream: { id: string } }) =>
  app.forward.overview.list('alice').some(({ id }) => id === stream.id)
/** How streams go to the machine, as `tunnel status --cluster` asks. */
async function wayOf(replica: TestProxy): Promise<object> {
  const token = replica.tokenOf('root', { roles: ['admin'] })
  const { machines } = (await (await replica.api(undefined, 'cluster', { token })).json()) as ClusterReport
  const { route, via } = machines.find(({ name }) => name === 'home')!
  return { route, via }
}
/** Replicas that have a link have not yet heard of each other's agents. */
const goesStraight = () =>
  until(async () => isDeepStrictEqual(await wayOf(b), { route: 'a', via: undefined }))

/** Echoes until `isDone`: the longest time that an answer took, in ms, but for what this process was busy. */
async function longestGap(stream: Duplex, isDone: () => boolean): Promise<number> {
  const busy = monitorEventLoopDelay({ resolution: 5 })
  busy.enable()
  let longestMs = 0
  for (let count = 0; !isDone(); count++) {
    const sentAtMs = performance.now()
    const answer = once(stream, 'data')
    stream.write(`${count}`)
    assert.equal(String((await answer)[0]), `${count}`)
    longestMs = Math.max(longestMs, performance.now() - sentAtMs)
    await pause(5)
  }
  busy.disable()
  return longestMs - busy.max / 1e6
}

test('a link between two replicas is cut, both ways or one: streams take a third replica, and come back', {
  skip,
}, async (t) => {
  const client = await b.connect('alice')
  for (const directions of [[], ['up'], ['down']] as const) {
    await goesStraight()
    const stream = await client.open({ machine: 'home', kind: 'ssh', target: echo })
    assert.ok(has(a, stream) && !has(c, stream))
    between.freeze(...directions)
    const gapMs = await longestGap(stream, () => has(c, stream))
    t.diagnostic(`cut ${directions[0] ?? 'both ways'}: ${Math.round(gapMs)} ms without an answer`)
    assert.ok(gapMs < LONGEST_MS, `${directions}: ${gapMs} ms`)
    assert.deepEqual(await wayOf(b), { route: 'a', via: 'c' })
    drop(stream)
    // New ones go there at once.
    const { stdout } = await client.exec('home', ['echo', 'around'])
    assert.equal(String(stdout), 'around\n')
    between.thaw()
    await meshed(a, b, c)
  }
})

test('no machine that is on line is said to be off line while nobody has noticed yet that a link is cut', {
  skip,
}, async () => {
  const client = await b.connect('alice')
  await a.startAgent('early', 'alice', sshd, { allow: [echo] })
  await until(() => isOnline(b, 'early'))
  between.freeze()
  const agent = await a.startAgent('late', 'alice', sshd, { allow: [echo] })
  // It is enrolled, as Redis tells, and was never on line: no grace is given to an agent that would be dialling.
  // Where this took so long that the cut has been noticed meanwhile, it is on line by now.
  await until(() => b.app.machines.find('alice', 'late') !== undefined)
  const stream = await client.open({ machine: 'late', kind: 'ssh', target: echo })
  await until(() => has(a, stream) && has(c, stream))
  drop(stream)
  assert.ok(isOnline(b, 'early'))
  // What it has no more is heard of by the same way.
  await agent.close()
  await until(() => !isOnline(b, 'late'))
  await assert.rejects(client.open({ machine: 'late', kind: 'ssh', target: echo }), {
    code: 'MACHINE_OFFLINE',
  })
  between.thaw()
  await meshed(a, b, c)
})
