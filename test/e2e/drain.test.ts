import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import test, { type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { drop, listenTcp, startProxy, type TestProxy, until } from '../support/proxy.ts'
import { seededChunks, seededSha256 } from '../support/random.ts'
import { startHalves } from '../support/service.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'

const MIB = 1_048_576
const BYTES = 16 * MIB
/** More than a drain takes on the busiest computer; it is over when all have left. */
const LONG_MS = 60_000

async function twoProxies(t: TestContext): Promise<[TestProxy, TestProxy]> {
  const first = await startProxy(t)
  return [first, await startProxy(t, { sharing: first })]
}

async function writeSeeded(to: Duplex, seed: string): Promise<void> {
  for (const chunk of seededChunks(seed, BYTES)) if (!to.write(chunk)) await once(to, 'drain')
  to.end()
}

test('a drain moves clients and agents to the other proxy under sealed streams, and loses nothing', async (t) => {
  const [leaving, staying] = await twoProxies(t)
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const urls = [leaving.url, staying.url]
  await leaving.startAgent('home', 'alice', '127.0.0.1:1', { urls, allow: [echo] })
  const tunnels = await Promise.all([1, 2, 3].map(() => leaving.connect('alice', { url: urls })))
  await until(() => leaving.app.links.count === 4 && staying.app.links.count === 1)

  const streams = await Promise.all(
    tunnels.map((tunnel) => tunnel.open({ machine: 'home', kind: 'ssh', target: echo })),
  )
  let drained: Promise<void> | undefined
  const copies = streams.map(async (stream, index) => {
    const seed = `drain ${index}`
    const writing = writeSeeded(stream, seed)
    const hash = createHash('sha256')
    let bytes = 0
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      hash.update(chunk)
      bytes += chunk.length
      if (bytes > BYTES / 3) drained ??= leaving.app.lifecycle.drain(LONG_MS)
    }
    await writing
    assert.equal(hash.digest('hex'), seededSha256(seed, BYTES))
  })
  await Promise.all(copies)
  await drained
  assert.equal(leaving.app.links.count, 0)
  assert.equal(staying.app.links.count, 4)
  assert.ok(tunnels.every(({ state }) => state === 'connected'))
  assert.equal(await staying.metric('tunnel_stream_resumes_total'), 3)
})

test('a proxy that drains takes no new link, and a client with two addresses never notices', async (t) => {
  const [leaving, staying] = await twoProxies(t)
  const tunnel = await leaving.connect('alice', { url: [leaving.url, staying.url] })
  const states: string[] = []
  tunnel.on('state', (state) => states.push(state))
  const draining = leaving.app.lifecycle.drain(LONG_MS)
  assert.equal(leaving.app.lifecycle.draining, true)
  await assert.rejects(leaving.client('alice').connect(), { category: 'network' })
  await draining
  assert.equal(leaving.app.links.count, 0)
  assert.equal(staying.app.links.count, 1)
  assert.deepEqual(states, [])
})

test('a request that ends at the leaving proxy finishes there, and the next goes by the other', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const [leaving, staying] = await twoProxies(t)
  const sshd = await startSshd(t)
  const urls = [leaving.url, staying.url]
  await leaving.startAgent('home', 'alice', sshd, { urls })
  const { port, finish } = await startHalves(t)
  const url = `http://home:${port}/`
  const tunnel = await leaving.connect('alice', { url: urls })
  const response = await tunnel.fetch(url)
  const draining = leaving.app.lifecycle.drain(LONG_MS)
  await until(() => staying.app.links.count === 2)
  const second = await tunnel.fetch(url)
  finish()
  assert.equal(await response.text(), 'first last')
  assert.equal(await second.text(), 'first last')
  await draining
  assert.equal(leaving.app.links.count, 0)
  assert.equal((await tunnel.exec('home', 'echo on')).stdout.toString(), 'on\n')
})

test('a peer that does not move is closed with 1012 when the time is over', async (t) => {
  const proxy = await startProxy(t)
  const tunnel = await proxy.connect('alice', { settings: { backoff: { maxAttempts: 2 } } })
  const lost = new Promise<string>((resolve) => tunnel.on('link-lost', (error) => resolve(error.code)))
  await proxy.app.lifecycle.drain(300)
  assert.equal(await lost, 'SHUTTING_DOWN')
  assert.equal(proxy.app.links.count, 0)
})

test('a proxy that stands alone waits for a request under way, and not for sealed streams that have nowhere to go', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const proxy = await startProxy(t)
  const sshd = await startSshd(t)
  await proxy.startAgent('home', 'alice', sshd)
  const { port, finish } = await startHalves(t)
  const sealed = await proxy.connect('alice')
  const stream = await sealed.open({ machine: 'home', kind: 'ssh' })
  t.after(() => drop(stream))
  const asking = await proxy.connect('alice')
  const response = await asking.fetch(`http://home:${port}/`)
  let isOver = false
  // Far beyond the patience of any test.
  const draining = proxy.app.lifecycle.drain(3_600_000).then(() => {
    isOver = true
  })
  // Time goes by faster here, past that in which clients may move: from then on the proxy looks who is still used.
  const looks = t.mock.method(proxy.app.forward, 'areUsed').mock
  const { now } = performance
  let aheadMs = 0
  t.mock.method(performance, 'now', () => now.call(performance) + aheadMs)
  for (; looks.callCount() < 3; aheadMs += 20) await delay(1)
  assert.equal(isOver, false)
  finish()
  assert.equal(await response.text(), 'first last')
  await draining
  assert.equal(stream.destroyed, false)
  await until(() => sealed.state === 'reconnecting')
})
