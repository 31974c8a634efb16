import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { loadSettings } from '../../../config/index.ts'
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
  const late = fp(async (app: FastifyInstance) => {
    app.addHook('onRequest', async ({ raw }) => {
      raw.socket.destroy()
      if (!raw.socket.closed) await once(raw.socket, 'close')
      // As when it had gone before anybody had asked where it came from.
      Object.defineProperty(raw.socket, 'remoteAddress', { value: undefined })
      seen++
    })
  })
  const app = await buildServer({
    settings,
    plugins: [late],
    logStream: { write: (line) => void lines.push(line) },
  })
  t.after(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
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
