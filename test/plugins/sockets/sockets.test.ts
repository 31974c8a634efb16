import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import fp from 'fastify-plugin'
import { loadSettings } from '../../../config/index.ts'
import { maxPerAddress, maxSockets } from '../../../plugins/sockets/limits.ts'
import { Newcomers } from '../../../plugins/sockets/newcomers.ts'
import { buildServer } from '../../../server.ts'
import { startProxy, until } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'
import { RawClient } from '../links/raw-client.ts'

let port = 0
function from(remoteAddress: string): Socket {
  port++
  return Object.assign(new EventEmitter(), { remoteAddress, remotePort: port }) as unknown as Socket
}

test('strangers are counted by address, an IPv6 network as one, and each that leaves makes room', () => {
  const newcomers = new Newcomers(2)
  const one = from('192.0.2.1')
  assert.equal(newcomers.enter(one), true)
  assert.equal(newcomers.enter(from('::ffff:192.0.2.1')), true)
  assert.equal(newcomers.enter(from('192.0.2.1')), false)
  assert.equal(newcomers.enter(from('192.0.2.2')), true)
  one.emit('close')
  assert.equal(newcomers.enter(from('192.0.2.1')), true)

  assert.equal(newcomers.enter(from('2001:db8:1:2::1')), true)
  assert.equal(newcomers.enter(from('2001:db8:1:2:3:4:5:6')), true)
  assert.equal(newcomers.enter(from('2001:db8:1:2::9')), false)
  assert.equal(newcomers.enter(from('2001:db8:1:3::9')), true)
  assert.equal(newcomers.enter(from('2001:db8::9')), true)
})

test('who has been let in is counted no longer, and is not subtracted twice', () => {
  const newcomers = new Newcomers(1)
  const known = from('192.0.2.1')
  newcomers.enter(known)
  newcomers.letIn(known)
  assert.equal(newcomers.size, 0)
  assert.equal(newcomers.enter(from('192.0.2.1')), true)
  known.emit('close')
  assert.equal(newcomers.enter(from('192.0.2.1')), false)
})

test('who was let in for one request is a stranger again when it is over, and leaves once', () => {
  const newcomers = new Newcomers(1)
  const known = from('192.0.2.1')
  newcomers.enter(known)
  for (let request = 0; request < 3; request++) {
    newcomers.letIn(known)
    assert.equal(newcomers.size, 0)
    newcomers.backOut(known)
    newcomers.backOut(known)
    assert.equal(newcomers.size, 1)
  }
  assert.equal(newcomers.enter(from('192.0.2.1')), false)
  known.emit('close')
  assert.deepEqual([newcomers.size, known.listenerCount('close')], [0, 0])
  assert.equal(newcomers.enter(from('192.0.2.1')), true)
})

test('the process keeps descriptors for itself, however few there are', () => {
  for (const descriptors of [128, 256, 1_024, 20_000, 1_048_576]) {
    const max = maxSockets(descriptors) ?? 0
    assert.ok(max >= descriptors / 2 && descriptors - max >= 64, `${max} of ${descriptors}`)
    assert.ok((maxPerAddress(max) ?? 0) * 4 <= max)
  }
  assert.equal(maxSockets(20), 1)
  assert.equal(maxSockets(undefined), undefined)
})

test('links do not count against their address, and strangers beyond its limit are closed and counted', async (t) => {
  const proxy = await startProxy(t, { set: ['server.socketsPerIp=3'] })
  const links = []
  for (let count = 0; count < 5; count++)
    links.push(await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello())
  const strangers = Array.from({ length: 5 }, () => silent(t, proxy.port))
  await until(() => strangers.filter(({ destroyed }) => destroyed).length === 2)
  for (const stranger of strangers) stranger.destroy()
  const { server } = proxy.app
  const open = () => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)))
  await until(async () => (await open()) === links.length)
  await until(async () => (await proxy.metric('tunnel_rate_limited_total')) >= 2)
  assert.equal(proxy.app.links.count, 5)
  assert.ok(links.every(({ socket }) => socket.readyState === socket.OPEN))
})

test('connections that a user keeps between requests count against their address', async (t) => {
  const proxy = await startProxy(t, { set: ['server.socketsPerIp=3'] })
  const head = `GET /api/tunnel/machines/none/http/80/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${proxy.tokenOf('alice')}\r\n\r\n`
  for (let count = 0; count < 3; count++) {
    const socket = silent(t, proxy.port)
    socket.write(head)
    assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 404 .*MACHINE_UNKNOWN/s)
  }
  await once(silent(t, proxy.port), 'close')
})

test('a connection on which more is asked than is answered ends, and one that asks ahead is answered', async (t) => {
  const proxy = await startProxy(t)
  const head = 'GET /api/tunnel/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'
  const ask = (count: number) => {
    const socket = silent(t, proxy.port)
    let text = ''
    socket.on('data', (bytes: Buffer) => {
      text += String(bytes)
    })
    socket.write(head.repeat(count))
    return { socket, answers: () => text.split('HTTP/1.1 200').length - 1 }
  }
  const few = ask(20)
  await until(() => few.answers() === 20)
  const { socket } = ask(2_000)
  await until(() => socket.destroyed)
  few.socket.write(head)
  await until(() => few.answers() === 21)
})

test('of what one packet asks, nothing is done that is more than a connection may ask at once', async (t) => {
  let handled = 0
  let release = (): void => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const counting = fp(
    async (app) => {
      app.get('/counted', async () => {
        handled++
        await released
        return ''
      })
    },
    { name: 'counting' },
  )
  const { port } = await startProxy(t, { plugins: [counting] })
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  socket.write('GET /counted HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1_000))
  await new Promise((resolve) => socket.once('close', resolve))
  release()
  assert.ok(handled <= 32, String(handled))
})

test('a server that is full says that it is not ready, and closes what comes', async (t) => {
  const stateDir = join(await tempFolder(t, 'sockets'), 'state')
  const { settings } = loadSettings({
    stateDir,
    env: {},
    flags: ['server.maxSockets=3', 'server.socketsPerIp=3'],
  })
  const app = await buildServer({ settings, logStream: { write: () => {} } })
  t.after(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const strangers = [1, 2, 3].map(() => silent(t, port))
  await Promise.all(strangers.map((stranger) => once(stranger, 'connect')))
  await once(silent(t, port), 'close')
  const ready = await app.inject('/api/tunnel/health/ready')
  assert.equal(ready.statusCode, 503)
  assert.equal(
    ready.json<{ checks: Record<string, { status: string }> }>().checks.connections?.status,
    'failed',
  )
})

function silent(t: TestContext, port: number): Socket {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  return socket.on('error', () => {}).resume()
}
