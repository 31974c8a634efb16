import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { startTestTunnel } from '../../testing/index.ts'
import { readAll } from '../support/proxy.ts'

test('plugin authors have a proxy with their plugin, an SSH server, an agent and clients in one call', async () => {
  let told!: (what: string) => void
  const over = new Promise<string>((resolve) => {
    told = resolve
  })
  await using tunnel = await startTestTunnel({
    plugins: [
      async function watcher(app: FastifyInstance) {
        app.tunnel.addHook('onClose', ({ user, head }) => told(`${user.sub} ${head.kind}`))
      },
    ],
    machine: 'desk',
    user: 'alice',
  })
  const { stdout, exitCode } = await tunnel.client.exec('desk', ['echo', 'hello'])
  assert.deepEqual([String(stdout), exitCode], ['hello\n', 0])
  assert.equal(await over, 'alice exec')
  const bob = await tunnel.connect('bob')
  await assert.rejects(bob.exec('desk', ['true']), { code: 'MACHINE_UNKNOWN' })
  assert.ok(tunnel.log.some(({ message }) => message === 'stream over'))
  const answer = await fetch(`${tunnel.url}/api/tunnel/machines`, {
    headers: { authorization: `Bearer ${tunnel.token()}` },
  })
  assert.equal(answer.status, 200)
})

test('its clock turns: tokens expire, and buckets fill again', async () => {
  await using tunnel = await startTestTunnel({
    settings: ['rateLimit.tiers.free.burst=1', 'rateLimit.tiers.free.perMinute=1'],
  })
  // The agent is the same user's, and has taken from the same bucket.
  await tunnel.clock.turn(1_000)
  const free = await tunnel.connect(tunnel.user, { tier: 'free', ttlSeconds: 7_200 })
  assert.equal((await free.exec('home', ['true'])).exitCode, 0)
  await assert.rejects(free.exec('home', ['true']), { code: 'RATE_LIMITED' })
  await tunnel.clock.turn(61_000)
  assert.equal((await free.exec('home', ['true'])).exitCode, 0)
  const token = tunnel.token()
  const status = async () => {
    const { status } = await fetch(`${tunnel.url}/api/tunnel/machines`, {
      headers: { authorization: `Bearer ${token}` },
    })
    return status
  }
  assert.equal(await status(), 200)
  await tunnel.clock.turn(3_700_000)
  assert.equal(await status(), 401)
})

test('it leaves nothing behind, nor when a plugin does not start', async () => {
  const { now } = Date
  await assert.rejects(
    startTestTunnel({
      plugins: [
        async function broken() {
          throw new Error('not today')
        },
      ],
    }),
    /the plugin broken did not start: not today/,
  )
  assert.equal(Date.now, now)
})

test('the carrier in docs/PLUGINS.md echoes more than any window holds; one that accepts nothing is told at once', async () => {
  const document = readFileSync(new URL('../../docs/PLUGINS.md', import.meta.url), 'utf8')
  const [, code] = /^```ts\n(app\.forward\.addKind\('x-echo'.*?)^```$/ms.exec(document) ?? assert.fail()
  const kinds = async (app: FastifyInstance) => {
    new Function('app', code!)(app)
    app.forward.addKind('x-idle', async () => {})
  }
  await using tunnel = await startTestTunnel({
    plugins: [fp(kinds, { name: 'kinds', dependencies: ['tunnel-forward'] })],
  })
  const sent = Buffer.alloc(20_000_000, 'echo')
  const stream = await tunnel.client.open({ machine: tunnel.machine, kind: 'x-echo' })
  stream.end(sent)
  assert.ok((await readAll(stream)).equals(sent))
  const metrics = await (await fetch(`${tunnel.url}/api/tunnel/metrics`)).text()
  assert.match(metrics, /^tunnel_bytes_total\{direction="out",mode="inspected"\} 20000000$/m)
  await assert.rejects(tunnel.client.open({ machine: tunnel.machine, kind: 'x-idle' }), {
    code: 'INTERNAL',
  })
  assert.match(JSON.stringify(tunnel.log), /x-idle has ended without accepting/)
})
