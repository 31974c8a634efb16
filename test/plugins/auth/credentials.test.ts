import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { WebSocket } from 'ws'
import { firstRefreshToken } from '../../../plugins/auth/refresh-tokens.ts'
import { FrameType, TYPE_MASK } from '../../../protocol/codec/frames.ts'
import { type ProxyOptions, startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { ticketClient } from '../../support/ticket-client.ts'
import { RawClient } from '../links/raw-client.ts'

type Answer = Record<string, string>

async function start(t: TestContext, options: ProxyOptions = {}) {
  const proxy = await startProxy(t, options)
  const post = async (route: string, body?: unknown, token?: string) => {
    const response = await fetch(`${proxy.url}/api/tunnel/auth/${route}`, {
      method: 'POST',
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    const answer = (text === '' ? {} : JSON.parse(text)) as Answer
    return { status: response.status, answer, headers: response.headers }
  }
  const me = async (token: string) => {
    const response = await proxy.api(undefined, 'machines', { token })
    const { code = 'ok' } = (await response.json()) as { code?: string }
    return code
  }
  const firstOf = (sub: string) => firstRefreshToken(proxy.settings.auth, { sub, tier: 'premium', roles: [] })
  return { proxy, post, me, firstOf }
}

async function audited(proxy: TestProxy, event: string): Promise<Record<string, string>[]> {
  const text = await readFile(join(proxy.settings.state.dir, 'audit.log'), 'utf8')
  const lines = text.trimEnd().split('\n').filter(Boolean)
  return lines
    .map((line) => JSON.parse(line) as Record<string, string>)
    .filter((line) => line.event === event)
}

test('a ticket lets its user in once, also when it is used many times at the same moment', async (t) => {
  const { proxy, post } = await start(t)
  const { status, answer, headers } = await post('ticket', undefined, proxy.tokenOf('alice'))
  assert.equal(status, 201)
  assert.equal(headers.get('cache-control'), 'no-store')
  const leftMs = Date.parse(answer.expiresAt ?? '') - Date.now()
  assert.ok(leftMs > 20_000 && leftMs <= 30_000, `${leftMs}`)
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => ticketClient(proxy, answer.ticket ?? '')),
  )
  assert.deepEqual(answers.sort(), [101, ...Array(9).fill(401)].sort())
  assert.equal(await ticketClient(proxy, 'tunnel-ticket.nonsense'), 401)
  assert.equal(await ticketClient(proxy, `${answer.ticket}&ticket=${answer.ticket}`), 401)
  assert.ok(!JSON.stringify(proxy.log).includes(String(answer.ticket)), 'a ticket stands in the log')
})

test('a ticket is good for no longer than its token, and is not for agents', async (t) => {
  const { proxy, post } = await start(t)
  const token = proxy.tokenOf('alice')
  const { answer } = await post('ticket', undefined, token)
  assert.equal((await post('revoke', {}, token)).status, 204)
  assert.equal(await ticketClient(proxy, String(answer.ticket)), 401)
  assert.equal((await post('ticket', undefined, token)).answer.code, 'TOKEN_REVOKED')
  const agent = proxy.tokenOf('alice', { roles: ['agent'] })
  assert.equal((await post('ticket', undefined, agent)).answer.code, 'FORBIDDEN')
  assert.equal((await post('ticket')).answer.code, 'TOKEN_MISSING')
})

test('pages of other origins may not connect, and use no ticket up; what is no browser has no origin', async (t) => {
  const listed = 'https://console.example.com'
  const { proxy, post } = await start(t, { set: [`server.origins=["${listed}"]`] })
  const ticket = async () => String((await post('ticket', undefined, proxy.tokenOf('alice'))).answer.ticket)
  const kept = await ticket()
  for (const origin of ['https://evil.example', `${listed}.evil.example`, 'null', `${listed}/`]) {
    assert.equal(await ticketClient(proxy, kept, { origin }), 403, origin)
  }
  assert.equal(await ticketClient(proxy, kept, { origin: listed }), 101)
  assert.equal(await ticketClient(proxy, await ticket(), { origin: proxy.url }), 101)
  assert.equal(await ticketClient(proxy, await ticket()), 101)
})

test('a refresh token gives the next one, and a token of its user that holds', async (t) => {
  const { proxy, post, me, firstOf } = await start(t)
  let refreshToken = firstOf('alice')
  for (let round = 0; round < 3; round++) {
    const { status, answer, headers } = await post('refresh', { refreshToken })
    assert.equal(status, 200)
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.equal(await me(String(answer.token)), 'ok')
    const user = await proxy.app.auth.verify(String(answer.token))
    assert.deepEqual([user.sub, user.tier], ['alice', 'premium'])
    assert.equal(
      Date.parse(String(answer.expiresAt)) + proxy.settings.auth.clockToleranceMs,
      user.expiresAtMs,
    )
    assert.notEqual(answer.refreshToken, refreshToken)
    refreshToken = String(answer.refreshToken)
  }
  // Neither is the other.
  assert.equal(await me(refreshToken), 'TOKEN_INVALID')
  assert.equal((await post('refresh', { refreshToken: proxy.tokenOf('alice') })).answer.code, 'TOKEN_INVALID')
})

test('an answer that was lost is given again to the same request, and to no other', async (t) => {
  const { post, firstOf } = await start(t)
  const refreshToken = firstOf('alice')
  const requestId = 'request-1'
  const answers = await Promise.all([1, 2, 3].map(() => post('refresh', { refreshToken, requestId })))
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  )
  const next = String(answers[2]?.answer.refreshToken)
  assert.equal((await post('refresh', { refreshToken: next, requestId: 'request-2' })).status, 200)
  // What came after it has been used: it is not lost any more.
  const late = await post('refresh', { refreshToken, requestId })
  assert.equal(late.answer.code, 'TOKEN_REVOKED')
})

test('a refresh token that comes again ends its session with its links, is audited, and ends nobody else', async (t) => {
  const { proxy, post, me, firstOf } = await start(t)
  const refreshToken = firstOf('alice')
  const { answer } = await post('refresh', { refreshToken })
  const token = String(answer.token)
  const raw = await new RawClient(t, { url: proxy.url, token }).hello()
  const other = await post('refresh', { refreshToken: firstOf('alice') })
  const bystander = await new RawClient(t, { url: proxy.url, token: String(other.answer.token) }).hello()
  const reused = await post('refresh', { refreshToken, requestId: 'another-one' })
  assert.deepEqual([reused.status, reused.answer.code], [401, 'TOKEN_REVOKED'])
  assert.deepEqual([(await raw.closed).code], [4401])
  assert.equal(await me(token), 'TOKEN_REVOKED')
  assert.equal((await post('refresh', { refreshToken: answer.refreshToken })).answer.code, 'TOKEN_REVOKED')
  assert.equal(await me(String(other.answer.token)), 'ok')
  assert.equal(bystander.socket.readyState, WebSocket.OPEN)
  await until(async () => (await audited(proxy, 'auth.refresh_reused')).length === 1)
  assert.equal((await audited(proxy, 'auth.refresh_reused'))[0]?.userId, 'alice')
})

test("who may revoke what: oneself, another token of one's own, and as admin everything of anybody", async (t) => {
  const { proxy, post, me } = await start(t)
  const [mine, other, third] = [1, 2, 3].map(() => proxy.tokenOf('alice')) as [string, string, string]
  assert.equal((await post('revoke', { token: other }, mine)).status, 204)
  assert.deepEqual([await me(mine), await me(other), await me(third)], ['ok', 'TOKEN_REVOKED', 'ok'])
  assert.equal((await post('revoke', { token: other }, mine)).status, 204)
  assert.equal(
    (await post('revoke', { token: proxy.tokenOf('alice', { ttlSeconds: -60 }) }, mine)).status,
    204,
  )
  assert.equal((await post('revoke', {}, mine)).status, 204)
  assert.equal(await me(mine), 'TOKEN_REVOKED')
  const bob = proxy.tokenOf('bob')
  for (const [body, code] of [
    [{ token: bob }, 'FORBIDDEN'],
    [{ sub: 'bob' }, 'FORBIDDEN'],
    [{ token: 'a.b.c' }, 'REQUEST_INVALID'],
    [{ sub: 'a/../b' }, 'REQUEST_INVALID'],
    [{ sub: 'alice', token: third }, 'REQUEST_INVALID'],
    [{ user: 'bob' }, 'REQUEST_INVALID'],
    [[], 'REQUEST_INVALID'],
  ] as const) {
    assert.equal((await post('revoke', body, third)).answer.code, code, JSON.stringify(body))
  }
  const agent = proxy.tokenOf('alice', { roles: ['agent'] })
  assert.equal((await post('revoke', { sub: 'alice' }, agent)).answer.code, 'FORBIDDEN')
  assert.deepEqual([await me(bob), await me(third)], ['ok', 'ok'])
  const admin = proxy.tokenOf('root', { roles: ['admin'] })
  assert.equal((await post('revoke', { sub: 'bob' }, admin)).status, 204)
  assert.deepEqual([await me(bob), await me(third)], ['TOKEN_REVOKED', 'ok'])
  await until(async () => (await audited(proxy, 'auth.revoked')).at(-1)?.userId === 'bob')
})

test('what was revoked stays revoked after a restart, whatever spelling of the token comes', async (t) => {
  const { proxy, post, me, firstOf } = await start(t)
  const token = proxy.tokenOf('alice')
  const { answer } = await post('refresh', { refreshToken: firstOf('alice') })
  const carol = proxy.tokenOf('carol')
  assert.equal((await post('revoke', {}, token)).status, 204)
  assert.equal((await post('revoke', { token: answer.refreshToken }, proxy.tokenOf('alice'))).status, 204)
  assert.equal((await post('revoke', { sub: 'carol' }, carol)).status, 204)
  await proxy.restart()
  for (const revoked of [token, String(answer.token), carol]) assert.equal(await me(revoked), 'TOKEN_REVOKED')
  assert.equal((await post('refresh', { refreshToken: answer.refreshToken })).answer.code, 'TOKEN_REVOKED')
  assert.equal(await me(proxy.tokenOf('alice')), 'ok')
  // The last character of a signature of 32 bytes has two bits that say nothing.
  const last = token.at(-1) ?? ''
  const twin = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const spelled = token.slice(0, -1) + twin[twin.indexOf(last) ^ 1]
  assert.notEqual(await me(spelled), 'ok')
})

test("a revoked user's streams end at once, with or without a link; another's go on", async (t) => {
  const { proxy, post } = await start(t)
  const agentOf = async (user: string) => {
    const raw = new RawClient(t, { url: proxy.url, token: proxy.tokenOf(user), route: 'agent' })
    return raw.hello({ role: 'agent', machine: 'home', enrol: { hostKeys: [], sshUser: 'me' } })
  }
  const openFrame = (frame: Buffer) => (frame[0]! & TYPE_MASK) === FrameType.OPEN
  const openedBy = async (user: string, agent: RawClient, token = proxy.tokenOf(user)) => {
    const raw = await new RawClient(t, { url: proxy.url, token }).hello()
    raw.open(1, { machine: 'home', kind: 'ssh' })
    const number = (await agent.frame(openFrame)).readUInt32BE(1)
    return { raw, number }
  }
  const alices = await agentOf('alice')
  const bobs = await agentOf('bob')
  const alice = await openedBy('alice', alices)
  const bob = await openedBy('bob', bobs)
  const admin = proxy.tokenOf('root', { roles: ['admin'] })
  assert.equal((await post('revoke', { sub: 'alice' }, admin)).status, 204)
  assert.equal((await alice.raw.resetOf(1)).code, 'TOKEN_REVOKED')
  assert.equal((await alice.raw.closed).code, 4401)
  assert.equal((await alices.closed).code, 4401)
  bobs.json(FrameType.ACCEPT, bob.number, {})
  await until(() => proxy.app.links.count === 2)
  assert.equal(bob.raw.socket.readyState, WebSocket.OPEN)
  assert.deepEqual([proxy.app.forward.overview.held().passages], [1])
})

test('a body that says something twice, reaches for a prototype, or is of another type is refused, and does nothing', async (t) => {
  const { proxy, me } = await start(t)
  const token = proxy.tokenOf('alice')
  const send = async (body: string, type = 'application/json') => {
    const response = await fetch(`${proxy.url}/api/tunnel/auth/revoke`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': type },
      body,
    })
    const text = await response.text()
    return text === '' ? 'ok' : (JSON.parse(text) as Answer).code
  }
  const bodies = [
    '{"sub":"alice","sub":"bob"}',
    '{"sub":"alice","s\\u0075b":"bob"}',
    '{"a":{"b":1,"b":2}}',
    '[{"a":1,"a":2}]',
    '{"__proto__":{"sub":"alice"}}',
    '{"constructor":{"prototype":{"sub":"alice"}}}',
    '{"sub":["alice"]}',
    '{"sub":null}',
    '{"sub":{"toString":"alice"}}',
    '"alice"',
    'null',
    '',
    '{"sub":"alice"',
    `{"token":"${'x'.repeat(20_000)}"}`,
    `${'['.repeat(4_000)}${']'.repeat(4_000)}`,
  ]
  for (const body of bodies) assert.equal(await send(body), 'REQUEST_INVALID', body.slice(0, 60))
  assert.equal(await send('sub=alice', 'application/x-www-form-urlencoded'), 'REQUEST_INVALID')
  assert.equal(await me(token), 'ok')
  // The same name in two objects is none twice, and neither is a value that looks like a name.
  assert.equal(await send('{"token":"a.b.c, \\"token\\""}'), 'REQUEST_INVALID')
  assert.equal(await send('{}'), 'ok')
})
