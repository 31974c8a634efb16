import assert from 'node:assert/strict'
import { userInfo } from 'node:os'
import { test } from 'node:test'
import { newKeyPair, startSshServer } from '../../../testing/ssh-server.ts'
import { listenTcp, startProxy } from '../../support/proxy.ts'
import { newPublicKey } from '../../support/public-key.ts'
import { startRedis } from '../../support/redis.ts'
import { requireSystem } from '../../support/system.ts'

/** No bucket fills and no circuit closes by itself while the test runs. */
const SLOW = ['rateLimit.tiers.free.perMinute=1', 'rateLimit.tiers.free.burst=3', 'breaker.openMs=86400000']

for (const store of ['embedded', 'redis'] as const) {
  test(`a restart forgets no revocation, no host key, no token that was taken and no open circuit: ${store}`, {
    skip: store === 'redis' ? requireSystem('redis-server') : undefined,
  }, async (t) => {
    const env = store === 'redis' ? { TUNNEL_STATE_REDIS_URL: (await startRedis(t)).url } : {}
    let dialled = 0
    const hangsUp = await listenTcp(t, (socket) => {
      dialled++
      socket.destroy()
    })
    const port = Number(hangsUp.split(':')[1])
    const down = { host: '127.0.0.1', port, user: 'me', hostKey: newPublicKey(), owners: ['alice'] }
    const set = [`state.store=${store}`, 'breaker.failures=2', ...SLOW]
    const proxy = await startProxy(t, { env, set, machines: { down } })
    const server = await startSshServer({
      hostKey: newKeyPair('a host key').private,
      user: userInfo().username,
      authorizedKeys: () => proxy.app.ssh.publicKey('alice'),
    })
    t.after(() => server.close())

    const [revoked, free] = [proxy.tokenOf('bob'), proxy.tokenOf('carol', { tier: 'free' })]
    const status = async (token: string): Promise<number> =>
      (await proxy.api(undefined, 'machines', { token })).status
    const hostKeys = async () =>
      (await (await proxy.api('alice', 'machines/home')).json()) as { hostKeys: object[] }
    const agent = await proxy.startAgent('home', 'alice', `127.0.0.1:${server.port}`)
    const pinned = (await hostKeys()).hostKeys
    assert.equal(pinned.length, 1)
    await agent.close()
    assert.equal(
      (await proxy.api('bob', 'auth/revoke', { method: 'POST', token: revoked, body: {} })).status,
      204,
    )
    for (let taken = 0; taken < 3; taken++) assert.equal(await status(free), 200)
    assert.equal(await status(free), 429)
    const run = async (): Promise<string> => {
      const tunnel = await proxy.connect('alice')
      return tunnel.exec('down', ['true']).then(
        () => 'ran',
        ({ code }: { code: string }) => code,
      )
    }
    for (let failures = 0; failures < 2; failures++) assert.notEqual(await run(), 'CIRCUIT_OPEN')

    // Twice: what was restored has to be kept as well.
    for (let restarts = 0; restarts < 2; restarts++) {
      await proxy.restart()
      assert.equal(await status(revoked), 401)
      assert.equal(await status(free), 429)
      assert.equal(await run(), 'CIRCUIT_OPEN')
      assert.deepEqual((await hostKeys()).hostKeys, pinned)
    }
    assert.equal(dialled, 2)

    const root = proxy.tokenOf('root', { roles: ['admin'] })
    const body = { user: 'alice', machine: 'down', state: 'closed' }
    assert.equal((await proxy.api('root', 'circuits', { method: 'PUT', token: root, body })).status, 204)
    await proxy.restart()
    assert.notEqual(await run(), 'CIRCUIT_OPEN')
  })
}
