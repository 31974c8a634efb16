import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { FrameType } from '../../../protocol/codec/frames.ts'
import { isolated, startTunnel, tunnel } from '../../cli/tunnel.ts'
import { drop, listenTcp, startProxy } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'
import { RawClient } from '../links/raw-client.ts'

test('a stream that is opened in a drain still opens; what needs the state that was handed over is told why it fails', async (t) => {
  const proxy = await startProxy(t)
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', '127.0.0.1:1', { allow: [echo] })
  const client = await proxy.connect('alice')
  const { app } = proxy
  const waiting = new Promise<void>((resolve) => app.lifecycle.onDrain('wait', () => resolve()))
  const drained = app.lifecycle.drain(10_000)
  await waiting

  const stream = await client.open({ machine: 'home', kind: 'ssh', target: echo })
  t.after(() => drop(stream))
  stream.write('still here')
  assert.equal(String(((await once(stream, 'data')) as [Buffer])[0]), 'still here')

  await assert.rejects(app.state.get('machines', 'x'), { code: 'SHUTTING_DOWN' })
  await assert.rejects(app.state.put('machines', 'x', 1), { code: 'SHUTTING_DOWN' })
  const refused = await app.inject({
    method: 'DELETE',
    url: '/api/tunnel/machines/home',
    headers: { authorization: `Bearer ${proxy.tokenOf('alice')}` },
  })
  assert.equal(refused.statusCode, 503)
  assert.equal(refused.json<{ code: string }>().code, 'SHUTTING_DOWN')
  await app.lifecycle.drain(0)
  await drained
  assert.equal(app.links.count, 0)
})

test('what a drain asks while it waits costs as much as there are streams, however many links there are', async (t) => {
  const proxy = await startProxy(t)
  for (let count = 0; count < 20; count++)
    await new RawClient(t, { url: proxy.url, token: proxy.tokenOf(`user${count % 4}`) }).hello()
  let asked = 0
  const links = {
    has: () => {
      asked++
      return false
    },
  }
  assert.equal(proxy.app.links.count, 20)
  assert.equal(proxy.app.forward.areUsed(links), false)
  assert.equal(asked, 0)
})

const THROWS = `
export default async function (app) {
  app.get('/throw', async () => {
    setImmediate(() => {
      throw new Error('out of nowhere')
    })
    return 'soon'
  })
  app.get('/reject', async () => {
    void Promise.reject(new Error('of no one'))
    return 'soon'
  })
}
`

test('an error that nothing catches is logged; the peers are sent away before the process ends with 1', async (t) => {
  const folder = await tempFolder(t)
  const env = isolated(join(folder, 'state'))
  const plugin = join(folder, 'throws.mjs')
  await writeFile(plugin, THROWS)
  const proxy = startTunnel(t, ['server', '--port', '0', '--plugin', plugin], { env })
  const [, url = ''] = await proxy.line(/listening.*(http:\/\/127\.0\.0\.1:\d+)/i)
  const token = (await tunnel(['token', '--sub', 'alice'], { env })).stdout.trim()
  const client = await new RawClient(t, { url, token }).hello()
  // Both at once: the first of them begins the drain, and neither cuts it short.
  const asked = await Promise.all(['throw', 'reject'].map((route) => fetch(`${url}/${route}`)))
  for (const { status } of asked) assert.equal(status, 200)
  await client.frame((frame) => frame[0] === FrameType.GOAWAY)
  client.socket.close()
  assert.deepEqual(await proxy.exit, { code: 1, signal: null }, proxy.stderr)
  for (const message of ['out of nowhere', 'of no one'])
    assert.match(
      proxy.stdout,
      new RegExp(`"level":"ERROR".*${message}.*"stack":"Error: ${message}\\\\n +at .*throws\\.mjs`),
    )
})

test('a second signal ends the wait of a drain, and the proxy still closes in order', async (t) => {
  const env = isolated(join(await tempFolder(t), 'state'))
  const proxy = startTunnel(t, ['server', '--port', '0'], { env })
  const [, url = ''] = await proxy.line(/listening.*(http:\/\/127\.0\.0\.1:\d+)/i)
  const token = (await tunnel(['token', '--sub', 'alice'], { env })).stdout.trim()
  const client = await new RawClient(t, { url, token }).hello()
  proxy.kill('SIGTERM')
  await client.frame((frame) => frame[0] === FrameType.GOAWAY)
  const sinceMs = performance.now()
  proxy.kill('SIGTERM')
  assert.equal((await client.closed).code, 1012)
  // Whoever does not move is waited for 5 s. What the process does after that may take a busy computer as long.
  assert.ok(performance.now() - sinceMs < 4_500)
  assert.deepEqual(await proxy.exit, { code: 0, signal: null }, proxy.stderr)
})
