import assert from 'node:assert/strict'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import {
  expiryOf,
  type RefreshState,
  type RefreshStore,
  refreshing,
  type TunnelError,
  tokenCommand,
  tokenFile,
} from '../../client/index.ts'
import { firstRefreshToken } from '../../plugins/auth/refresh-tokens.ts'
import { startProxy, type TestProxy, until } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'

function firstOf(proxy: TestProxy, sub: string): string {
  return firstRefreshToken(proxy.settings.auth, { sub, tier: 'premium', roles: [] })
}

/** A store that remembers all that it was given, and can fail. */
class Store implements RefreshStore {
  readonly saved: RefreshState[] = []
  broken = false

  async load() {
    return this.saved.at(-1)
  }
  async save(state: RefreshState) {
    if (this.broken && state.requestId === undefined) throw new Error('no space left on device')
    this.saved.push(state)
  }
}

test('refresh tokens are kept and rotated: one use at a time, and an answer that was lost is asked for again', async (t) => {
  const proxy = await startProxy(t)
  const store = new Store()
  const provider = refreshing({ url: proxy.url, refreshToken: firstOf(proxy, 'alice'), store })
  const both = await Promise.all([provider(), provider()])
  assert.equal(both[0], both[1])
  assert.equal(store.saved.length, 2)
  const [used, kept] = store.saved
  assert.match(used?.requestId ?? '', /^[\w-]{36}$/)
  assert.notEqual(kept?.refreshToken, used?.refreshToken)
  // Good for two thirds of its life.
  assert.equal(await provider(), both[0])
  assert.equal(store.saved.length, 2)

  // What could not be kept is asked for again, by the same name: the family lives.
  store.broken = true
  await assert.rejects(provider({ refused: both[0] }), /no space left/)
  store.broken = false
  const next = await provider({ refused: both[0] })
  assert.notEqual(next, both[0])
  assert.ok(expiryOf(next)! > Date.now())
  const requests = store.saved.slice(2).map(({ requestId }) => requestId)
  assert.equal(requests[0], requests[1])

  // A program that starts again goes on with what its store has.
  const again = refreshing({ url: proxy.url, refreshToken: used!.refreshToken, store })
  assert.ok(await again())
})

test('a session that is revoked ends its client, once another token was asked for and refused too', async (t) => {
  const proxy = await startProxy(t)
  const provider = refreshing({ url: proxy.url, refreshToken: firstOf(proxy, 'alice') })
  const tunnel = await proxy.connect('alice', { token: provider })
  const failed = new Promise<TunnelError>((resolve) => tunnel.once('error', resolve))
  const headers = { authorization: `Bearer ${await provider()}`, 'content-type': 'application/json' }
  const init = { method: 'POST', headers, body: '{}' }
  assert.equal((await fetch(`${proxy.url}/api/tunnel/auth/revoke`, init)).status, 204)
  assert.equal((await failed).code, 'TOKEN_REVOKED')
  assert.equal(tunnel.state, 'closed')
})

test('a token comes from a file or a command, and is renewed there', async (t) => {
  const proxy = await startProxy(t)
  const file = join(await tempFolder(t), 'token')
  await writeFile(file, `${proxy.tokenOf('alice')}\n`, { mode: 0o600 })
  const tunnel = await proxy.connect('alice', { token: tokenFile(file) })
  await writeFile(file, proxy.tokenOf('alice', { ttlSeconds: 1_000 }))
  proxy.cut('client')
  await until(() => tunnel.metrics.snapshot().reconnects === 1)
  await chmod(file, 0o644)
  await assert.rejects(tokenFile(file)(), { code: 'TOKEN_MISSING', message: /can be read by others/ })
  const other = await proxy.connect('alice', {
    token: tokenCommand(['printf', '%s', proxy.tokenOf('alice')]),
  })
  assert.equal(other.state, 'connected')
  const locked = proxy.client('alice', { token: tokenCommand(['false']) })
  await assert.rejects(locked.connect(), { code: 'TOKEN_MISSING', suggestion: /run it by hand/ })
})
