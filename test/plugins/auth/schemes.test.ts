import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { type AuthScheme, Schemes, type SchemeUser } from '../../../plugins/auth/schemes.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { listenTcp, startProxy, until } from '../../support/proxy.ts'
import { ticketClient } from '../../support/ticket-client.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

type Codes = { code?: string; message?: string }

/** A proxy with the scheme `Key`: who may come with what stands in a map, which the test changes. */
async function start(t: TestContext, more: Partial<AuthScheme> = {}) {
  const keys = new Map<string, SchemeUser>()
  const asked: string[] = []
  const scheme: AuthScheme = {
    name: 'Key',
    verify: (credentials) => {
      asked.push(credentials)
      const user = keys.get(credentials)
      if (user === undefined) throw new TunnelError('TOKEN_INVALID', 'no such key', { hop: 'proxy' })
      return user
    },
    ...more,
  }
  const plugin = fp(async (app: FastifyInstance) => app.auth.addScheme(scheme), {
    name: 'keys',
    dependencies: ['tunnel-auth'],
  })
  const proxy = await startProxy(t, { plugins: [plugin] })
  const ask = (authorization: string, route = 'machines', body?: object) =>
    fetch(`${proxy.url}/api/tunnel/${route}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    })
  const codeOf = async (authorization: string, route?: string, body?: object) => {
    const response = await ask(authorization, route, body)
    const text = await response.text()
    return response.ok ? 'ok' : (JSON.parse(text) as Codes).code
  }
  return { proxy, keys, asked, ask, codeOf }
}

test("a plugin's scheme lets its users in by header, by one word where a token is meant, and by ticket, beside tokens", async (t) => {
  const { proxy, keys, asked, ask, codeOf } = await start(t, { challenge: 'Key realm="tunnel"' })
  keys.set('s3cret/+=', { sub: 'alice', roles: ['admin'] })
  keys.set('two words', { sub: 'bob' })
  for (const way of ['Key s3cret/+=', 'kEY  s3cret/+=', 'Bearer key:s3cret/+=', 'Key two words'])
    assert.equal(await codeOf(way), 'ok', way)
  assert.deepEqual(asked, ['s3cret/+=', 's3cret/+=', 's3cret/+=', 'two words'])
  assert.equal(await codeOf('Key s3cret/+=', 'config'), 'ok')
  assert.equal(await codeOf('Key two words', 'config'), 'FORBIDDEN')
  assert.equal(await codeOf(`Bearer ${proxy.tokenOf('alice')}`), 'ok')
  const ticket = (await (await ask('Key s3cret/+=', 'auth/ticket', {})).json()) as { ticket: string }
  assert.equal(await ticketClient(proxy, ticket.ticket), 101)

  const refused = await ask('Key other')
  assert.deepEqual(
    [refused.status, refused.headers.get('www-authenticate')],
    [401, 'Bearer, Key realm="tunnel"'],
  )
  const codes = {
    'Bearer key:other': 'TOKEN_INVALID',
    [`Key ${'x'.repeat(8_193)}`]: 'TOKEN_INVALID',
    'Key \xe9': 'TOKEN_INVALID',
    Key: 'TOKEN_MISSING',
    'Keys s3cret/+=': 'TOKEN_MISSING',
    'Bearer keys:s3cret/+=': 'TOKEN_INVALID',
    'Bearer key: s3cret/+=': 'TOKEN_INVALID',
  }
  for (const [way, code] of Object.entries(codes)) assert.equal(await codeOf(way), code, way.slice(0, 30))
  assert.equal(asked.filter((credentials) => credentials === 'other').length, 2)
  const lines = JSON.stringify(proxy.log)
  assert.ok(!lines.includes('s3cret'), 'credentials stand in the log')
})

test('a link goes on when its answer is over and the scheme still knows it, with its streams, until it is revoked', async (t) => {
  let answers = 0
  const { proxy } = await start(t, {
    verify: () => {
      const holdsMs = answers++ === 0 ? 2_000 : 3_600_000
      return { sub: 'alice', tier: 'enterprise', expiresAtMs: Date.now() + holdsMs }
    },
  })
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', echo)
  const tunnel = await proxy.connect('alice', { token: 'Key:k' })
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  await until(() => answers === 2)
  stream.write('still here')
  assert.equal(String(await new Promise((resolve) => stream.once('data', resolve))), 'still here')

  const admin = proxy.tokenOf('root', { roles: ['admin'] })
  stream.on('error', () => {})
  const closed = new Promise((resolve) => stream.once('close', resolve))
  assert.equal(
    (await proxy.api('root', 'auth/revoke', { method: 'POST', token: admin, body: { sub: 'alice' } })).status,
    204,
  )
  await closed
  await until(() => tunnel.state === 'closed')
})

test('credentials that were revoked are so for good; all of a user ends those that were given out before', async (t) => {
  const { proxy, keys, codeOf } = await start(t)
  keys.set('old', { sub: 'alice', id: 'laptop' })
  keys.set('other', { sub: 'alice', id: 'phone' })
  keys.set('new', { sub: 'alice', id: 'next', issuedAtMs: Date.now() + 60_000 })
  keys.set('bob', { sub: 'bob' })
  // Nobody finds out by guessing what another's credentials are.
  for (const token of ['Key:old', 'Key:none'])
    assert.equal(await codeOf('Key bob', 'auth/revoke', { token }), 'REQUEST_INVALID')
  assert.equal(await codeOf('Key other', 'auth/revoke', { token: 'Key:old' }), 'ok')
  keys.set('old', { sub: 'alice', id: 'laptop', expiresAtMs: Date.now() + 86_400_000 })
  await proxy.restart()
  assert.equal(await codeOf('Key old'), 'TOKEN_REVOKED')
  assert.equal(await codeOf('Key other', 'auth/revoke', { sub: 'alice' }), 'ok')
  assert.deepEqual(
    [await codeOf('Key other'), await codeOf('Key new'), await codeOf('Key bob')],
    ['TOKEN_REVOKED', 'ok', 'ok'],
  )
})

test("a scheme that fails, answers with nobody or not at all refuses its caller, and the plugin's mistake is logged", async () => {
  const clock = new VirtualClock()
  const failures: string[] = []
  const schemes = new Schemes((name, error) => failures.push(`${name}: ${(error as Error).message}`), clock)
  const answers: Record<string, () => unknown> = {
    throws: () => JSON.parse('{'),
    nobody: () => undefined,
    'no-sub': () => ({ sub: '../x' }),
    'no-tier': () => ({ sub: 'a', tier: 'gold' }),
    'no-time': () => ({ sub: 'a', expiresAtMs: 'soon' }),
    'no-id': () => ({ sub: 'a', id: 'two words' }),
    away: () => Promise.reject(new TunnelError('STATE_UNAVAILABLE', 'no directory', { hop: 'proxy' })),
    hangs: () => new Promise(() => {}),
  }
  schemes.add({ name: 'Odd', verify: async (name) => (await answers[name]?.()) as SchemeUser })
  const codeOf = (token: string) =>
    schemes.read(token).then(
      ({ sub }) => sub,
      ({ code }: Codes) => code,
    )
  const codes = Promise.all(Object.keys(answers).map((name) => codeOf(`odd:${name}`)))
  await until(() => failures.length === 6)
  clock.run(10_000)
  assert.deepEqual(await codes, [...Array(6).fill('INTERNAL'), 'STATE_UNAVAILABLE', 'TIMEOUT'])
  for (const why of [
    /JSON/,
    /its sub is not valid/,
    /its tier is unknown/,
    /no user$/,
    /id is not a word/,
    /soon is not a time/,
  ])
    assert.ok(
      failures.some((failure) => failure.startsWith('Odd: ') && why.test(failure)),
      failures.join(),
    )
  assert.equal(clock.pending, 0)
})

test('a scheme that cannot be one, or is there already, stops the start and is named with its plugin', async (t) => {
  const start = (...schemes: Partial<AuthScheme>[]) =>
    startProxy(t, {
      plugins: [
        fp(
          async (app: FastifyInstance) => {
            for (const scheme of schemes) app.auth.addScheme(scheme as AuthScheme)
          },
          { name: 'wrong' },
        ),
      ],
    })
  const verify = () => ({ sub: 'a' })
  for (const [schemes, why] of [
    [[{ name: 'bearer', verify }], /"bearer" cannot be added: there is one of this name already/],
    [
      [
        { name: 'Key', verify },
        { name: 'kEy', verify },
      ],
      /"kEy" cannot be added: there is one/,
    ],
    [[{ name: 'My Key', verify }], /its name is not 1 to 32 letters/],
    [[{ verify }], /"undefined" cannot be added: its name/],
    [[{ name: 'Key' }], /its verify is not a function/],
    [[{ name: 'Key', verify, challenge: 'a\r\nb' }], /its challenge is not a line of text/],
  ] as const) {
    await assert.rejects(start(...schemes), ({ code, message = '' }: Codes) => {
      assert.equal(code, 'CONFIG_INVALID')
      assert.match(message, /^the plugin wrong did not start: /)
      assert.match(message, why)
      return true
    })
  }
})
