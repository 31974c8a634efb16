import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstRefreshToken } from '../../plugins/auth/refresh-tokens.ts'
import { userKeys } from '../../plugins/ssh/keys.ts'
import { SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import { PROTOCOL_HEADER, STREAM_TYPE } from '../../protocol/link/dial-http.ts'
import { SESSION_HEADER } from '../../protocol/link/http-uplink.ts'
import { isolated, tunnelLines } from '../cli/tunnel.ts'
import { ticketClient } from '../support/ticket-client.ts'
import { API } from '../support/watch-routes.ts'
import { agentOf, assertNoneIsPrinted, codeOf, startScene } from './scene.ts'
import type { Entry } from './table.ts'

test('whatever lets somebody in lets them in as often as it should, and is printed nowhere', async (t) => {
  const scene = await startScene(t)
  await agentOf(t, scene, 'home', scene.token('alice'))

  await t.test('tickets, refresh tokens, codes, cookies and sessions are used', async (t) => {
    const { proxy, secrets } = scene
    const ask = (route: string, more: Partial<Entry & { method: string }> = {}, token?: string) =>
      scene.ask({ asks: 'user', path: route, method: 'POST', ...more }, token)
    const kept = (secret: unknown): string => {
      assert.equal(typeof secret, 'string')
      secrets.add(String(secret))
      return String(secret)
    }
    const alice = scene.token('alice')
    const ticket = kept((await ask('/auth/ticket', {}, alice)).json().ticket)
    assert.deepEqual([await ticketClient(proxy, ticket), await ticketClient(proxy, ticket)], [101, 401])

    const { secret, refreshTtlMs } = proxy.settings.auth
    const refreshToken = kept(firstRefreshToken({ secret, refreshTtlMs }, { sub: 'alice' }))
    const next = (await ask('/auth/refresh', { body: { refreshToken } })).json()
    for (const part of ['token', 'refreshToken']) kept(next[part])
    for (const used of [refreshToken, next.refreshToken])
      assert.equal(codeOf(await ask('/auth/refresh', { body: { refreshToken: used } })), 'TOKEN_REVOKED')

    const code = kept((await ask('/machines/third/enrolment', {}, alice)).json().code)
    kept((await ask('/enrolments', { body: { code } })).json().token)
    assert.equal(codeOf(await ask('/enrolments', { body: { code } })), 'TICKET_INVALID')

    const { origin } = (await ask('/machines/home/origin/80', { method: 'GET' }, alice)).json()
    const visit = (url: string, cookie = '') =>
      proxy.app.inject({ url, headers: { host: new URL(origin).host, cookie } })
    const second = kept((await ask('/auth/ticket', {}, alice)).json().ticket)
    const [cookie = ''] = String((await visit(`/?ticket=${second}`)).headers['set-cookie']).split(';')
    kept(cookie.slice(cookie.indexOf('=') + 1))
    for (const answer of [await visit('/', cookie), await visit(`/?ticket=${second}`)]) {
      assert.ok(answer.statusCode >= 400)
      scene.told.push(JSON.stringify(answer.headers), answer.body)
    }

    const over = new AbortController()
    t.after(() => over.abort())
    const stream = await fetch(`${proxy.url}${API}/connect/stream`, {
      method: 'POST',
      headers: { authorization: `Bearer ${alice}`, [PROTOCOL_HEADER]: SUBPROTOCOL },
      signal: over.signal,
    })
    const session = kept(stream.headers.get(SESSION_HEADER))
    const post = (authorization: string) =>
      fetch(`${proxy.url}${API}/connect/stream/up`, {
        method: 'POST',
        headers: { authorization, [SESSION_HEADER]: session, 'content-type': STREAM_TYPE },
        body: 'x',
      })
    const stolen = await post(`Bearer ${scene.token('mallory')}`)
    scene.told.push(await stolen.text())
    assert.equal(stolen.status, 404)
    // Those that log in to machines.
    for (const { privateKey } of userKeys([proxy.settings.ssh.masterSecret], 'alice'))
      for (const line of privateKey.split('\n')) if (/^[\w+/=]{40,}$/.test(line)) secrets.add(line)
  })

  await t.test('no secret stands in any log, answer, metric or line of the audit trail', async () => {
    const { proxy, told, secrets } = scene
    const commands = ['status', 'status --json', 'diagnose', 'diagnose other', 'sessions']
    const lines = commands.map((line) => [...line.split(' '), '--verbose'])
    const good = { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: scene.token('alice') }
    const bad = { ...good, TUNNEL_TOKEN: scene.token('alice', { ttlSeconds: -3_600 }) }
    const nobody = { ...good, TUNNEL_URL: 'http://127.0.0.1:1' }
    for (const access of [good, bad, nobody]) {
      const printed = await tunnelLines(lines, isolated(proxy.settings.state.dir, access))
      for (const { stdout, stderr } of printed) told.push(stdout, stderr)
    }
    // As the server logs what nothing caught.
    const token = scene.token('alice')
    const request = {
      headers: { authorization: `Bearer ${token}` },
      url: `/x?token=${token}`,
      secret: proxy.settings.auth.secret,
    }
    const err = Object.assign(new Error(`nobody takes "Bearer ${token}"`), {
      token,
      request,
      cause: new Error(token),
    })
    proxy.app.log.error({ err }, 'an error that nothing caught')
    assert.ok(proxy.log.length > 30 && secrets.size > 10)
    await assertNoneIsPrinted(scene)
  })
})
