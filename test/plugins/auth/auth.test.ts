import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import type { AuthOptions } from '../../../plugins/auth/options.ts'
import { isSubject, subjectOf } from '../../../plugins/auth/subject.ts'
import { DEFAULT_NAME, signToken } from '../../../plugins/auth/tokens.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { registerAuth, registerGround, AUTH_SECRET as SECRET } from '../ground.ts'

async function start(t: TestContext, options: Partial<AuthOptions> = {}) {
  const app = Fastify()
  t.after(() => app.close())
  await registerGround(t, app)
  await registerAuth(app, options)
  app.setErrorHandler((error, _request, reply) => {
    const code = error instanceof TunnelError ? error.code : 'OTHER'
    reply
      .code(error instanceof TunnelError ? error.statusCode : 500)
      .send({ code, message: (error as Error).message })
  })
  app.get('/me', { onRequest: app.requireUser }, async (request) => request.user)
  app.get('/admin', { onRequest: app.requireRole('admin') }, async () => 'in')
  return app
}

/** A token of any shape, with a right signature unless told otherwise. */
function token(
  claims: object,
  { header = { alg: 'HS256', typ: 'JWT' } as object, secret = SECRET } = {},
): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${encode(header)}.${encode({ iss: DEFAULT_NAME, aud: DEFAULT_NAME, ...claims })}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

const seconds = (offset: number): number => Math.floor(Date.now() / 1_000) + offset
const refusedWith = (code: string) => (error: unknown) => {
  assert.equal((error as TunnelError).code, code, String(error))
  return true
}

test('a signed token gives its user, tier and roles', async (t) => {
  const app = await start(t)
  const user = await app.auth.verify(
    signToken(SECRET, { sub: 'ada', tier: 'premium', roles: ['admin'], ttlSeconds: 60 }),
  )
  assert.equal(user.sub, 'ada')
  assert.equal(user.tier, 'premium')
  assert.deepEqual(user.roles, ['admin'])
  assert.ok(user.expiresAtMs > Date.now() + 50_000 && user.expiresAtMs < Date.now() + 70_000)
})

test('a token without tier and roles is of the free tier', async (t) => {
  const app = await start(t)
  const user = await app.auth.verify(token({ sub: 'ada', exp: seconds(60) }))
  assert.deepEqual([user.tier, user.roles], ['free', []])
})

test('an expired token is TOKEN_EXPIRED, and small differences of clocks are forgiven', async (t) => {
  const app = await start(t)
  await assert.rejects(
    app.auth.verify(token({ sub: 'ada', exp: seconds(-60) })),
    refusedWith('TOKEN_EXPIRED'),
  )
  assert.equal((await app.auth.verify(token({ sub: 'ada', exp: seconds(-2) }))).sub, 'ada')
})

test('whatever is wrong with a token is TOKEN_INVALID', async (t) => {
  const app = await start(t)
  const good = { sub: 'ada', exp: seconds(60) }
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  const rsInput = `${Buffer.from('{"alg":"RS256","typ":"JWT"}').toString('base64url')}.${Buffer.from(JSON.stringify(good)).toString('base64url')}`
  const wrong: Record<string, string> = {
    'another secret': token(good, { secret: `${SECRET}!` }),
    'no algorithm': token(good, { header: { alg: 'none' } }),
    'no signature': `${token(good).split('.').slice(0, 2).join('.')}.`,
    'another algorithm of the family': token(good, { header: { alg: 'HS512' } }),
    'a public key algorithm': `${rsInput}.${sign('sha256', Buffer.from(rsInput), privateKey).toString('base64url')}`,
    'no sub': token({ exp: seconds(60) }),
    'an empty sub': token({ ...good, sub: '' }),
    'a sub with a line break': token({ ...good, sub: 'ada\nroot' }),
    'a sub that is too long': token({ ...good, sub: 'a'.repeat(129) }),
    'a sub that is a number': token({ ...good, sub: 7 }),
    'no exp': token({ sub: 'ada' }),
    'an exp that is text': token({ ...good, exp: 'tomorrow' }),
    'not valid yet': token({ ...good, nbf: seconds(600) }),
    'an unknown tier': token({ ...good, tier: 'gold' }),
    'roles that are text': token({ ...good, roles: 'admin' }),
    'a role that is no name': token({ ...good, roles: ['a b'] }),
    'a critical header': token(good, { header: { alg: 'HS256', crit: ['x'], x: 1 } }),
    'no JSON': 'aaaa.bbbb.cccc',
    garbage: 'garbage',
    'far too long': `${'a'.repeat(9_000)}.b.c`,
  }
  for (const [what, text] of Object.entries(wrong)) {
    await assert.rejects(app.auth.verify(text), (error: unknown) => {
      assert.equal((error as TunnelError).code, 'TOKEN_INVALID', what)
      assert.ok(!String(error).includes(text), `${what}: the token is quoted`)
      return true
    })
  }
})

test('issuer and audience are checked where they are configured', async (t) => {
  const app = await start(t, { issuer: 'https://id.example', audience: 'tunnel' })
  const claims = { sub: 'ada', ttlSeconds: 60 }
  await app.auth.verify(signToken(SECRET, { ...claims, issuer: 'https://id.example', audience: 'tunnel' }))
  for (const other of [
    {},
    { issuer: 'https://id.example' },
    { issuer: 'https://evil.example', audience: 'tunnel' },
    { issuer: 'https://id.example', audience: 'x' },
  ]) {
    await assert.rejects(
      app.auth.verify(signToken(SECRET, { ...claims, ...other })),
      refusedWith('TOKEN_INVALID'),
    )
  }
})

test('a route takes the token from the Authorization header and from nowhere else', async (t) => {
  const app = await start(t)
  const valid = signToken(SECRET, { sub: 'ada', ttlSeconds: 60 })
  const get = (url: string, headers: Record<string, string> = {}) => app.inject({ url, headers })
  assert.equal((await get('/me', { authorization: `Bearer ${valid}` })).json().sub, 'ada')
  assert.equal((await get('/me', { authorization: `bearer ${valid}` })).statusCode, 200)
  for (const answer of [
    await get('/me'),
    await get(`/me?token=${valid}`),
    await get(`/me?access_token=${valid}`),
    await get('/me', { cookie: `token=${valid}` }),
    await get('/me', { authorization: `Basic ${valid}` }),
    await get('/me', { authorization: valid }),
    await get('/me', { authorization: 'Bearer' }),
  ]) {
    assert.equal(answer.statusCode, 401)
    assert.equal(answer.json().code, 'TOKEN_MISSING')
  }
})

test('a role is required by name', async (t) => {
  const app = await start(t)
  const as = (roles: string[]) =>
    app.inject({
      url: '/admin',
      headers: { authorization: `Bearer ${signToken(SECRET, { sub: 'a', roles, ttlSeconds: 60 })}` },
    })
  assert.equal((await as(['admin'])).statusCode, 200)
  assert.equal((await as(['administrator'])).json().code, 'FORBIDDEN')
  assert.equal((await app.inject('/admin')).json().code, 'TOKEN_MISSING')
})

test('a secret that is too short stops the start and is not told', async (t) => {
  await assert.rejects(start(t, { secret: 'short-secret' }), (error: unknown) => {
    assert.doesNotMatch(String(error), /short-secret/)
    return refusedWith('CONFIG_INVALID')(error)
  })
})

test('a secret is measured in bytes, as the settings measure it', async (t) => {
  await start(t, { secret: 'é'.repeat(16) })
  await assert.rejects(start(t, { secret: `${'é'.repeat(15)}s` }), /at least 32 bytes, and has 31/)
})

test('every account of a system has a user id that is one', () => {
  for (const account of [
    'ada',
    'DOMAIN\\ada',
    'Ada Lovelace',
    '.ada',
    'ada\u0301',
    'a'.repeat(300),
    'uid-1000',
  ])
    assert.ok(isSubject(subjectOf(account)), account)
  assert.equal(subjectOf('ada.l@example.com'), 'ada.l@example.com')
})
