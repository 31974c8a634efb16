import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { loadSettings, type Settings } from '../../../config/index.ts'
import { buildServer } from '../../../server.ts'
import { startProxy, until } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'

/** What anybody may ask for without a token. */
const OPEN = ['/nowhere', '/%zz', '/api/tunnel/machines', '/api/tunnel/metrics', `/${'x'.repeat(300)}/%zz`]

test('whatever a stranger asks for is limited by address, and probes are counted apart', async (t) => {
  for (const path of OPEN) {
    const proxy = await startProxy(t, { set: ['rateLimit.perIpPerMinute=3'] })
    const statusOf = async (asked: string) => (await fetch(`${proxy.url}${asked}`)).status
    const statuses = []
    for (let count = 0; count < 5; count++) statuses.push(await statusOf(path))
    assert.deepEqual(statuses.slice(3), [429, 429], path)
    assert.ok(!statuses.slice(0, 3).includes(429), path)
    const probes = []
    for (const probe of ['health', 'health/ready', 'health', 'health/ready'])
      probes.push(await statusOf(`/api/tunnel/${probe}`))
    assert.deepEqual(probes, [200, 200, 200, 429], path)
    await proxy.close()
  }
})

test('a peer that has gone before its request is looked at is no error of the proxy', async (t) => {
  const { settings } = loadSettings({ stateDir: await tempFolder(t, 'strangers'), env: {} })
  const lines: string[] = []
  let seen = 0
  const late = fp(
    async (app: FastifyInstance) => {
      app.addHook('onRequest', async ({ raw }) => {
        raw.socket.destroy()
        if (!raw.socket.closed) await once(raw.socket, 'close')
        // As when it had gone before anybody had asked where it came from.
        Object.defineProperty(raw.socket, 'remoteAddress', { value: undefined })
        seen++
      })
    },
    { name: 'late' },
  )
  const app = await buildServer({
    settings,
    plugins: [late],
    logStream: { write: (line) => void lines.push(line) },
  })
  t.after(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  // What a start says of the computer (that ssh2 lacks its native part) is not about peers.
  lines.length = 0
  const { port } = app.server.address() as { port: number }
  for (const path of ['/api/tunnel/machines', '/api/tunnel/health', '/nowhere', '/%zz']) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    t.after(() => socket.destroy())
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
    if (path === '/%zz') socket.resetAndDestroy()
    else await once(socket, 'close')
  }
  await until(() => seen === 3)
  assert.deepEqual(
    lines.filter((line) => /"level":"(ERROR|WARN)"/.test(line)),
    [],
  )
})

test('that a reverse proxy stands in front without being named is told once', async (t) => {
  const proxy = await startProxy(t)
  for (let count = 0; count < 3; count++)
    await fetch(`${proxy.url}/api/tunnel/machines`, { headers: { 'x-forwarded-for': '192.0.2.1' } })
  const told = proxy.log.filter(
    ({ level, message }) => level === 'WARN' && message.includes('server.trustProxy'),
  )
  assert.equal(told.length, 1)
})

/** It listens, as one that runs does: what waits for its turn keeps no process alive. */
async function silentProxy(t: TestContext, settings: Settings): Promise<FastifyInstance> {
  const app = await buildServer({ settings, logStream: { write() {} } })
  t.after(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  return app
}

/** Statuses of requests without a token, from a connection of `remoteAddress`. */
async function statusesOf(app: FastifyInstance, remoteAddress: string, all: Record<string, string>[]) {
  const statuses = []
  for (const headers of all)
    statuses.push((await app.inject({ url: '/api/tunnel/machines', remoteAddress, headers })).statusCode)
  return statuses
}

test('whatever a stranger says of where it comes from, it is counted by where it comes from', async (t) => {
  const flags = ['rateLimit.perIpPerMinute=2', 'server.trustProxy=["10.0.0.0/8"]']
  const { settings } = loadSettings({ stateDir: await tempFolder(t, 'strangers'), env: {}, flags })
  const app = await silentProxy(t, settings)
  const forged = ['1.1.1.1', '1.1.1.2', '1.1.1.3']
  const names = ['x-forwarded-for', 'x-real-ip', 'forwarded', 'true-client-ip', 'x-client-ip']
  for (const [index, name] of names.entries()) {
    const headers = forged.map((address) => ({ [name]: name === 'forwarded' ? `for=${address}` : address }))
    // Nobody whom the settings name has written it.
    const stranger = await statusesOf(app, `198.51.100.${index}`, headers)
    assert.deepEqual(stranger, [401, 401, 429], name)
  }
  // Behind the proxy that they name: the last of them, which that one has written, and no other spelling of it.
  const through = (address: string) => forged.map((first) => ({ 'x-forwarded-for': `${first}, ${address}` }))
  assert.deepEqual(await statusesOf(app, '10.0.0.1', through('203.0.113.1')), [401, 401, 429])
  assert.deepEqual(await statusesOf(app, '10.0.0.2', through('203.0.113.1')), [429, 429, 429])
  assert.deepEqual(await statusesOf(app, '10.0.0.1', through('::ffff:203.0.113.1')), [429, 429, 429])
  assert.deepEqual(await statusesOf(app, '10.0.0.1', through('203.0.113.1:4711')), [429, 429, 429])
  assert.deepEqual(await statusesOf(app, '10.0.0.1', through('203.0.113.2, 10.9.9.9')), [401, 401, 429])
  assert.deepEqual(await statusesOf(app, '10.0.0.1', through('2001:db8::1')), [401, 401, 429])
  assert.deepEqual(await statusesOf(app, '10.0.0.1', through('2001:DB8:0:0:9::')), [429, 429, 429])
})

test('an address from which wrong tokens come is refused for a while, with good ones too; it may still probe', async (t) => {
  const { settings } = loadSettings({ stateDir: await tempFolder(t, 'strangers'), env: {} })
  const app = await silentProxy(t, settings)
  const good = { authorization: `Bearer ${app.auth.sign({ sub: 'alice', ttlSeconds: 60 })}` }
  const wrong = Array.from({ length: 5 }, () => ({ authorization: 'Bearer a.b.c' }))
  assert.deepEqual(await statusesOf(app, '192.0.2.1', wrong), [401, 401, 401, 401, 429])
  const refused = await app.inject({
    url: '/api/tunnel/machines',
    remoteAddress: '192.0.2.1',
    headers: good,
  })
  const { code, retryAfterMs } = refused.json<{ code: string; retryAfterMs: number }>()
  assert.equal(code, 'RATE_LIMITED')
  assert.ok(retryAfterMs > 1_000 && retryAfterMs <= 20_000)
  assert.equal(refused.headers['retry-after'], String(Math.ceil(retryAfterMs / 1_000)))
  assert.match(String(refused.headers['ratelimit-policy']), /^"ip"/)
  assert.deepEqual(await statusesOf(app, '192.0.2.2', [good]), [200])
  const probe = await app.inject({ url: '/api/tunnel/health', remoteAddress: '192.0.2.1' })
  assert.equal(probe.statusCode, 200)
  assert.match(await app.tunnelMetrics.read(), /tunnel_rate_limited_total{scope="penalty",tier="none"} 2/)
})
