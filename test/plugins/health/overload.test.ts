import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import type { Machine } from '../../../dial/machine.ts'
import { listenTcp, startProxy, until } from '../../support/proxy.ts'

/** Less than any process of Node's has that runs a proxy. */
const TOO_LITTLE = 67_108_864

test('a proxy that is too busy opens no stream, tells when to ask again, and lets live streams go on and be resumed', async (t) => {
  const proxy = await startProxy(t)
  const target = await listenTcp(t, (socket) => socket.pipe(socket))
  const agent = await proxy.startAgent('home', 'alice', target)
  t.after(() => agent.close())
  const alice = await proxy.connect('alice')
  const live = await alice.open({ machine: 'home', kind: 'ssh' })
  const echo = async (text: string) => {
    live.write(text)
    assert.equal(String((await once(live, 'data'))[0]), text)
  }
  await echo('before')

  proxy.settings.health.maxRssBytes = TOO_LITTLE
  await assert.rejects(alice.open({ machine: 'home', kind: 'ssh' }), {
    code: 'OVERLOADED',
    retryAfterMs: proxy.settings.health.retryAfterMs,
  })
  const refused = await proxy.api('alice', 'machines/home/http/80/')
  assert.equal(refused.status, 503)
  assert.equal(refused.headers.get('retry-after'), String(proxy.settings.health.retryAfterMs / 1_000))
  const ready = await proxy.api(undefined, 'health/ready')
  assert.equal(ready.status, 503)
  const { checks } = (await ready.json()) as { checks: Record<string, object> }
  assert.deepEqual(checks.memory, { status: 'failed', detail: 'memory runs out' })
  assert.equal((await proxy.api(undefined, 'health')).status, 200)
  await echo('meanwhile')
  proxy.cut('client')
  await echo('resumed')

  delete proxy.settings.health.maxRssBytes
  const later = await alice.open({ machine: 'home', kind: 'ssh' })
  later.end()
  live.end()
})

test('each machine is tried again and again as far as its SSH server, and its owner sees when and with what outcome', async (t) => {
  const sources = new Set<string>()
  let isDead = false
  const target = await listenTcp(t, (socket) => {
    sources.add(socket.remoteAddress ?? '')
    if (isDead) socket.destroy()
    else socket.write('SSH-2.0-test\r\n')
  })
  const port = Number(target.split(':')[1])
  const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
  const host = { host: '127.0.0.1', port, user: 'me', hostKey, owners: ['alice'] }
  const proxy = await startProxy(t, { set: ['health.probeMs=20'], machines: { bastion: host } })
  const agent = await proxy.startAgent('home', 'alice', target)
  t.after(() => agent.close())
  const tried = async (name: string): Promise<Machine['tried']> =>
    ((await (await proxy.api('alice', `machines/${name}`)).json()) as Machine).tried
  for (const name of ['home', 'bastion']) await until(async () => (await tried(name))?.ok === true)
  // Neither the agent's usual address nor a user's: what sshd counts there is nobody's.
  if (process.platform === 'linux') assert.ok(sources.size >= 2, [...sources].join(' '))
  isDead = true
  await until(async () => (await tried('home'))?.code === 'TOO_MANY_CONNECTIONS')
  await until(async () => (await tried('bastion'))?.code === 'SSH_HANDSHAKE_FAILED')
  const { at } = (await tried('home')) ?? assert.fail()
  await until(async () => ((await tried('home'))?.at ?? '') > at)
})
