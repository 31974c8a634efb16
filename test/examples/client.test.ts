import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { MemoryStore } from '../../client/index.ts'
import { tokenOf } from '../../examples/client/keep-refresh-token.ts'
import { addTo } from '../../examples/client/sign-requests.ts'
import { slowNetwork } from '../../examples/client/slow-network.ts'
import { twoStores } from '../../examples/client/two-queues.ts'
import { firstRefreshToken } from '../../plugins/auth/refresh-tokens.ts'
import { clientOf, respond, startProxy as startSmallProxy } from '../client/proxy.ts'
import { startProxy } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'

test('the example of hooks signs requests and tells of what goes wrong; the one of a transport holds frames up', async (t) => {
  const seen: (string | undefined)[] = []
  const proxy = await startSmallProxy(t, {
    onStream: (stream) => {
      seen.push(stream.head.http?.headers.find(([name]) => name === 'x-signature')?.[1])
      respond(stream, 200)
    },
  })
  const network = slowNetwork(20)
  const tunnel = clientOf(t, proxy.url, { platform: network })
  const said: string[] = []
  addTo(tunnel, { secret: 's', slowMs: 15, say: (line) => said.push(line) })
  await tunnel.connect()
  await tunnel.forwardRequest({ machine: 'home', path: '/a' })
  assert.deepEqual(seen, [createHmac('sha256', 's').update('GET /a').digest('hex')])
  await assert.rejects(tunnel.forwardRequest({ machine: 'home', path: '/b', signal: AbortSignal.abort() }))
  await new Promise(setImmediate)
  assert.match(said.join('\n'), /^connected\nGET \/a took \d+ ms \(200\)\nGET \/b failed: ABORTED/)
  assert.ok(network.timersMs.includes(20))
})

test('the example of a token provider keeps its refresh token in a file, and goes on with it', async (t) => {
  const proxy = await startProxy(t)
  const file = join(await tempFolder(t), 'refresh')
  const first = firstRefreshToken(proxy.settings.auth, { sub: 'alice', tier: 'premium', roles: [] })
  const token = await tokenOf(proxy.url, file, first)()
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  const kept = JSON.parse(await readFile(file, 'utf8')) as { refreshToken: string }
  assert.notEqual(kept.refreshToken, first)
  const again = await tokenOf(proxy.url, file, first)()
  const tunnel = await proxy.connect('alice', { token: again })
  assert.equal(tunnel.state, 'connected')
  assert.ok(token.length > 0)
})

test('the example of a storage keeps a request in two stores until it has its outcome', async (t) => {
  const kept: number[] = []
  const [first, second] = [new MemoryStore(), new MemoryStore()]
  const count = async () => (await second.entries('')).length
  const proxy = await startSmallProxy(t, {
    onStream: (stream) =>
      void count().then((found) => respond(stream, 200, '', [['x-kept', String(kept.push(found))]])),
  })
  const tunnel = clientOf(t, proxy.url, { queue: { store: async () => twoStores(first, second) } })
  await tunnel.connect()
  const before = await count()
  await tunnel.forwardRequest({ machine: 'home', method: 'POST', priority: 'high', body: 'x' })
  assert.ok(kept[0]! > before)
  assert.equal(await count(), before)
})
