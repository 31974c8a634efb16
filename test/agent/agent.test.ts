import assert from 'node:assert/strict'
import test from 'node:test'
import type { Agent } from '../../agent/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { startProxy, type TestProxy, until } from '../support/proxy.ts'

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

test("an agent on two proxies that is taken over on one leaves both: its name is another one's", async (t) => {
  const first = await startProxy(t)
  const second = await startProxy(t, { sharing: first })
  const agent = await first.startAgent('home', 'alice', '127.0.0.1:1', { urls: [first.url, second.url] })
  const ends = endOf(agent)
  assert.ok(isOnline(first) && isOnline(second))
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
    throw new TunnelError('TOKEN_REVOKED', 'no more')
  }
  proxy.cut('agent')
  await until(() => itsEnds.length === 1)
  assert.equal(itsEnds[0]?.code, 'TOKEN_REVOKED')
})
