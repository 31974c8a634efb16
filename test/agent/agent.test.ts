import assert from 'node:assert/strict'
import test from 'node:test'
import { Agent, type AgentLog } from '../../agent/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { listenTcp, readAll, startProxy, type TestProxy, until } from '../support/proxy.ts'

/** With what an agent has ended, in order; empty while it runs. */
function endOf(agent: Agent): (TunnelError | undefined)[] {
  const ends: (TunnelError | undefined)[] = []
  void agent.done.then((error) => ends.push(error))
  return ends
}

function isOnline({ app }: TestProxy): boolean {
  return app.machines.find('alice', 'home')?.online === true
}

/** How often an agent has come. */
function arrivals({ log }: TestProxy): number {
  return log.filter(({ message }) => message === 'machine on line').length
}

test('an agent dials on however often it fails, whatever attempts its profile allows a client', async (t) => {
  const proxy = await startProxy(t)
  const relay = await FaultRelay.listen(t, { target: { host: '127.0.0.1', port: proxy.port } })
  const agent = await proxy.startAgent('home', 'alice', '127.0.0.1:1', {
    urls: [relay.url],
    settings: resolveSettings({}, 'default', { backoff: { baseMs: 1, maxMs: 2, maxAttempts: 2 } }),
  })
  const ends = endOf(agent)
  relay.refusing = true
  relay.cut()
  await until(() => relay.counters.refused >= 20)
  relay.refusing = false
  await until(() => arrivals(proxy) === 2)
  assert.deepEqual(ends, [])
})

test('an agent that starts before its proxy dials on, says why, and comes on line', async (t) => {
  const proxy = await startProxy(t)
  const relay = await FaultRelay.listen(t, { target: { host: '127.0.0.1', port: proxy.port } })
  relay.refusing = true
  const said: string[] = []
  const agent = proxy.agent('home', 'alice', {
    urls: [relay.url],
    ssh: '127.0.0.1:1',
    log: (level, message) => said.push(`${level}: ${message}`),
  })
  const started = agent.start()
  await until(() => relay.counters.refused >= 8)
  assert.ok(
    said.some((line) => /^warn: .*; dialling again in \d/.test(line)),
    said.join('\n'),
  )
  relay.refusing = false
  await started
  assert.equal(isOnline(proxy), true)
})

test('an agent whose token is refused at its start ends, also after it had to wait for the proxy', async (t) => {
  const proxy = await startProxy(t)
  const relay = await FaultRelay.listen(t, { target: { host: '127.0.0.1', port: proxy.port } })
  for (const refusing of [false, true]) {
    relay.refusing = refusing
    const before = relay.counters.refused
    const agent = proxy.agent('home', 'alice', {
      urls: [relay.url],
      ssh: '127.0.0.1:1',
      token: () => 'wrong',
    })
    const started = assert.rejects(agent.start(), { code: 'TOKEN_INVALID' })
    if (refusing) await until(() => relay.counters.refused > before + 6)
    relay.refusing = false
    await started
  }
})

test('an agent says of a stream that is over whose it was, where it led, how long and how much', async (t) => {
  const proxy = await startProxy(t)
  const address = await listenTcp(t, (socket) => socket.end('hello'))
  const lines: { message: string; context: Record<string, unknown> | undefined }[] = []
  const log: AgentLog = (_level, message, context) => lines.push({ message, context })
  await proxy.startAgent('home', 'alice', address, { log })
  const tunnel = await proxy.connect('alice')
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  stream.end('1234567')
  assert.equal(String(await readAll(stream)), 'hello')
  const isOver = ({ message }: { message: string }) => /a stream of alice to .* is over/.test(message)
  await until(() => lines.some(isOver))
  const { message, context } = lines.find(isOver)!
  assert.match(message, /: \d+\.\d s, 7 B in, 5 B out$/)
  assert.deepEqual(
    [context?.machine, context?.userId, context?.bytesIn, context?.bytesOut],
    ['home', 'alice', 7, 5],
  )
})

test('a machine name that no URL can say is refused', () => {
  const settings = resolveSettings({}, 'default', {})
  for (const machine of ['web.1', '42', '0x1f', 'a.0x1f', 'xn--a', 'a.xn--', 'Home', '-a', ''])
    assert.throws(() => new Agent({ urls: ['http://127.0.0.1:1'], machine, token: 'x', settings }), {
      code: 'CONFIG_INVALID',
    })
  for (const machine of ['web-1', 'web.1a', '1.web', 'home', 'xn--caf-dma'])
    new Agent({ urls: ['http://127.0.0.1:1'], machine, token: 'x', settings })
})

test("an agent on two proxies that is taken over on one leaves both: its name is another one's", async (t) => {
  const first = await startProxy(t)
  const second = await startProxy(t, { sharing: first })
  const agent = await first.startAgent('home', 'alice', '127.0.0.1:1', { urls: [first.url, second.url] })
  const ends = endOf(agent)
  await until(() => isOnline(first) && isOnline(second))
  await first.startAgent('home', 'alice', '127.0.0.1:1')
  await until(() => ends.length === 1)
  assert.equal(ends[0]?.code, 'TAKEN_OVER')
  await until(() => !isOnline(second))
  assert.equal(isOnline(first), true)
  assert.deepEqual([first.app.links.count, second.app.links.count], [1, 0])
})

test('an agent that one of two proxies does not let in stays on line at the other', async (t) => {
  const first = await startProxy(t)
  const stranger = await startProxy(t)
  const agent = await first.startAgent('home', 'alice', '127.0.0.1:1', { urls: [first.url, stranger.url] })
  const ends = endOf(agent)
  first.cut('agent')
  await until(() => arrivals(first) === 2)
  assert.deepEqual([ends, arrivals(stranger)], [[], 0])
})

test('an agent whose token is refused reads it again by and by; one that was given as text ends', async (t) => {
  const proxy = await startProxy(t)
  const [good, bad] = [proxy.tokenOf('alice'), proxy.tokenOf('alice', { ttlSeconds: -3_600 })]
  let given = good
  const said: string[] = []
  const agent = await proxy.startAgent('home', 'alice', '127.0.0.1:1', {
    token: () => given,
    log: (level, message) => said.push(`${level}: ${message}`),
  })
  const ends = endOf(agent)
  given = bad
  proxy.cut('agent')
  const again = /^error: .*; the token is read again in 5 s$/
  await until(() => said.some((line) => again.test(line)))
  given = good
  await until(() => arrivals(proxy) === 2)
  assert.deepEqual(ends, [])

  const fixed = await proxy.startAgent('office', 'alice', '127.0.0.1:1', { token: proxy.tokenOf('alice') })
  const itsEnds = endOf(fixed)
  proxy.app.auth.verify = async () => {
    throw new TunnelError('TOKEN_REVOKED', 'no more', { hop: 'agent' })
  }
  proxy.cut('agent')
  await until(() => itsEnds.length === 1)
  assert.equal(itsEnds[0]?.code, 'TOKEN_REVOKED')
})
