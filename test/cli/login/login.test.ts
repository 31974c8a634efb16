import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { dropLogin, freshToken, keepLogin } from '../../../cli/login/kept-login.ts'
import { RawClient } from '../../plugins/links/raw-client.ts'
import { CLIENT_ID, startIssuer } from '../../support/oidc-provider.ts'
import { readAll, startProxy } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'
import { isolated, startTunnel, tunnel } from '../tunnel.ts'

const AUDIENCE = 'https://tunnel.example'

test('tunnel login and logout, against a real issuer', async (t) => {
  const issuer = await startIssuer(t, AUDIENCE, 600)
  const proxy = await startProxy(t, {
    set: [
      ...[`auth.issuer=${issuer.url}`, `auth.audience=${AUDIENCE}`, `auth.jwks.url=${issuer.url}/jwks`],
      `auth.login.clientId=${CLIENT_ID}`,
    ],
  })
  const folder = await tempFolder(t, 'login')
  const env = isolated(folder)
  const loginFile = join(folder, 'config', 'ssh-websocket-tunnel', 'work.login.json')
  const login = async (user: string, does: 'confirm' | 'abort' = 'confirm') => {
    const program = startTunnel(t, ['login', 'work', '--url', proxy.url], { env })
    const [, address = ''] = await program.line(/^Open (\S+)$/m)
    await issuer.confirm(address, user, does)
    const { code } = await program.exit
    return { code, stdout: program.stdout, stderr: program.stderr }
  }
  const kept = async () => JSON.parse(await readFile(loginFile, 'utf8')) as Record<string, string & number>

  await t.test('a login that is refused leaves nothing behind', async () => {
    const { code, stderr } = await login('alice', 'abort')
    assert.equal(code, 3)
    assert.match(stderr, /no login at .*: the login was refused there .*TOKEN_MISSING/)
    await assert.rejects(stat(loginFile), { code: 'ENOENT' })
  })

  await t.test('a login is kept for its owner alone, and used by every command', async () => {
    const { code, stdout, stderr } = await login('alice')
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^work is used now: http:.* and renewed$/m)
    assert.equal((await stat(loginFile)).mode & 0o777, 0o600)
    const { accessToken, refreshToken } = await kept()
    assert.ok(accessToken && refreshToken)
    assert.ok(
      ![stdout, stderr].join().includes(accessToken) && ![stdout, stderr].join().includes(refreshToken),
    )
    await proxy.startAgent('home', 'alice', '127.0.0.1:1')
    const machines = await tunnel(['machines'], { env })
    assert.match(machines.stdout, /home/, machines.stderr)
  })

  await t.test('of programs that find the token old one renews it, and all have the new one', async () => {
    const before = await kept()
    await writeFile(loginFile, JSON.stringify({ ...before, issuedAtMs: 0, expiresAtMs: Date.now() - 1 }))
    const runs = await Promise.all([1, 2, 3].map(() => tunnel(['machines'], { env })))
    for (const { code, stderr, stdout } of runs) {
      assert.equal(code, 0, stderr)
      assert.match(stdout, /home/)
    }
    const after = await kept()
    assert.notEqual(after.accessToken, before.accessToken)
    assert.notEqual(after.refreshToken, before.refreshToken)
    assert.equal(after.renewingUntilMs, undefined)
    assert.equal((await stat(loginFile)).mode & 0o777, 0o600)
  })

  await t.test('logout ends the token with its links, the refresh token, and what is kept', async () => {
    const { accessToken, refreshToken, ...rest } = await kept()
    const raw = await new RawClient(t, { url: proxy.url, token: String(accessToken) }).hello()
    const { code, stdout, stderr } = await tunnel(['logout'], { env })
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^work is logged out$/m)
    assert.equal((await raw.closed).code, 4401)
    await assert.rejects(stat(loginFile), { code: 'ENOENT' })
    const revoked = await proxy.api(undefined, 'machines', { token: String(accessToken) })
    assert.equal(((await revoked.json()) as { code: string }).code, 'TOKEN_REVOKED')
    // Whoever has copied the file can do nothing with it.
    const copy = { ...rest, accessToken, refreshToken, issuedAtMs: 0, expiresAtMs: 1 }
    const config = JSON.stringify({
      current: 'w',
      contexts: { w: { url: proxy.url, loginFile: 'work.login.json' } },
    })
    await writeFile(join(loginFile, '..', 'config.json'), config, { mode: 0o600 })
    await writeFile(loginFile, JSON.stringify(copy), { mode: 0o600 })
    const stolen = await tunnel(['machines'], { env })
    assert.equal(stolen.code, 3)
    assert.match(stolen.stderr, /does not renew the login \(invalid_grant\).*TOKEN_EXPIRED.*tunnel login/)
  })

  await t.test(
    'a file that others can read, and one that holds no login, are refused; a proxy without an issuer says so',
    async () => {
      await writeFile(loginFile, '{"issuer":"x"}', { mode: 0o600 })
      assert.match((await tunnel(['machines'], { env })).stderr, /holds no login .*TOKEN_MISSING/)
      await chmod(loginFile, 0o644)
      assert.match((await tunnel(['machines'], { env })).stderr, /can be read by others/)
      const plain = await startProxy(t)
      const refused = await tunnel(['login', 'lab', '--url', plain.url], { env })
      assert.match(refused.stderr, /names no issuer to log in at/)
      assert.match((await tunnel(['logout', 'nowhere'], { env })).stderr, /there is no context "nowhere"/)
    },
  )
})

test('whoever waited for its turn while another renewed the login takes the new token, and renews nothing', async (t) => {
  const file = join(await tempFolder(t, 'turn'), 'work.login.json')
  // Nobody is there: an attempt to renew it fails.
  const place = { issuer: 'http://127.0.0.1:1', clientId: 'tunnel', scope: 'openid', audience: 'tunnel' }
  const old = { ...place, accessToken: 'old', refreshToken: 'once', issuedAtMs: 0, expiresAtMs: 1 }
  await writeFile(file, JSON.stringify(old), { mode: 0o600 })
  const lock = `${file}.lock`
  await mkdir(lock)
  await writeFile(join(lock, `${process.pid}.00.${hostname()}`), '')
  const askedAtMs = Date.now()
  const token = freshToken(file)
  while (Date.now() === askedAtMs) await new Promise(setImmediate)
  const issuedAtMs = Date.now()
  const renewed = { accessToken: 'new', refreshToken: 'next', issuedAtMs, expiresAtMs: issuedAtMs + 600_000 }
  await writeFile(file, JSON.stringify({ ...old, ...renewed }), { mode: 0o600 })
  await rm(lock, { recursive: true })
  assert.equal(await token, 'new')
  assert.equal(JSON.parse(await readFile(file, 'utf8')).refreshToken, 'next')
})

test('a login or logout that comes while another program renews the login before it is not undone', async (t) => {
  const file = join(await tempFolder(t, 'mix-up'), 'work.login.json')
  const revoked: string[] = []
  let meanwhile: () => Promise<unknown> = async () => {}
  let isAway = false
  const issuer = createServer((request, response) => {
    void readAll(request).then(async (body) => {
      const asked = new URLSearchParams(String(body))
      const answer = (value: object) => {
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify(value))
      }
      if (request.url === '/token') {
        await meanwhile()
        answer({ access_token: 'new', refresh_token: 'next', token_type: 'Bearer', expires_in: 600 })
      } else if (request.url === '/revoke') {
        if (isAway) return void response.writeHead(503).end()
        revoked.push(asked.get('token') ?? '')
        response.end()
      } else answer({ issuer: url, token_endpoint: `${url}/token`, revocation_endpoint: `${url}/revoke` })
    })
  })
  issuer.listen(0, '127.0.0.1')
  await once(issuer, 'listening')
  t.after(() => issuer.close())
  t.after(() => issuer.closeAllConnections())
  const url = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`
  const place = { issuer: url, clientId: 'tunnel', scope: 'openid', audience: 'tunnel' }
  const keepOld = () =>
    keepLogin(file, { ...place, accessToken: 'old', refreshToken: 'once', issuedAtMs: 0, expiresAtMs: 1 })
  const issuedAtMs = Date.now()
  const bobs = { ...place, accessToken: 'bobs', issuedAtMs, expiresAtMs: issuedAtMs + 600_000 }

  await keepOld()
  assert.equal(await freshToken(file), 'new')
  await keepOld()
  meanwhile = () => keepLogin(file, bobs)
  assert.equal(await freshToken(file), 'bobs')
  assert.equal(JSON.parse(await readFile(file, 'utf8')).accessToken, 'bobs')
  await keepOld()
  meanwhile = async () => dropLogin(file)
  await assert.rejects(freshToken(file), { code: 'TOKEN_MISSING' })
  await assert.rejects(stat(file), { code: 'ENOENT' })
  assert.deepEqual(revoked, ['next', 'next'])

  // What the issuer does not hear of the person has to know.
  isAway = true
  await keepOld()
  meanwhile = () => keepLogin(file, bobs)
  const { mock: written } = t.mock.method(process.stderr, 'write', () => true)
  assert.equal(await freshToken(file), 'bobs')
  const told = written.calls.map(({ arguments: [text] }) => String(text)).join('')
  written.restore()
  assert.match(told, /^tunnel: warning: [^\n]*could not be told to revoke[^\n]*\(REVOCATION_FAILED\)\n$/)
  assert.ok(told.includes(url) && !told.includes('next'), told)
})
