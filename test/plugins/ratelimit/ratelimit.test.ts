import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyRequest } from 'fastify'
import type { User } from '../../../plugins/auth/index.ts'
import { replaceSystemClock } from '../../../protocol/clock.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { registerGround } from '../ground.ts'

async function start(t: TestContext, options: object = {}) {
  const app = Fastify({ trustProxy: true })
  await registerGround(t, app, options)
  app.setErrorHandler((error, _request, reply) =>
    reply.code((error as TunnelError).statusCode).send((error as TunnelError).toWire()),
  )
  app.decorateRequest('user')
  /** Whom the address names. */
  const identify = async (request: FastifyRequest): Promise<void> => {
    const { sub = '', agent } = request.query as { sub?: string; agent?: string }
    request.user = { ...user(sub), roles: agent === undefined ? [] : ['agent'] }
  }
  app.get('/limited', { onRequest: app.limitByIp }, async () => 'ok')
  app.get('/mine', { onRequest: [app.limitByIp, identify, app.limitByUser] }, async () => 'ok')
  app.get('/link', { onRequest: [identify, app.limitLinksByUser] }, async () => 'ok')
  app.get('/probe', async () => 'ok')
  t.after(() => app.close())
  const from = (ip: string, url = '/limited') => app.inject({ url, headers: { 'x-forwarded-for': ip } })
  return { app, from }
}

const user = (sub: string, tier: 'free' | 'premium' = 'free'): User => ({
  ...{ sub, tier, roles: [], expiresAtMs: 0 },
})

test('an address above its limit is RATE_LIMITED, and other addresses are not', async (t) => {
  const { from } = await start(t, { perIpPerMinute: 3 })
  for (let left = 2; left >= 0; left--) {
    const answer = await from('192.0.2.1')
    assert.equal(answer.statusCode, 200)
    assert.equal(answer.headers['ratelimit-policy'], '"ip";q=3;w=60')
    assert.match(String(answer.headers.ratelimit), new RegExp(`^"ip";r=${left};t=\\d+$`))
  }
  const refused = await from('192.0.2.1')
  assert.equal(refused.statusCode, 429)
  assert.equal(refused.json().code, 'RATE_LIMITED')
  assert.ok(refused.json().retryAfterMs > 0)
  assert.equal((await from('192.0.2.2')).statusCode, 200)
})

test('a route without the hook is not limited', async (t) => {
  const { from } = await start(t, { perIpPerMinute: 1 })
  for (let index = 0; index < 5; index++) assert.equal((await from('192.0.2.1', '/probe')).statusCode, 200)
})

test('addresses of one IPv6 network count as one', async (t) => {
  const { from } = await start(t, { perIpPerMinute: 1 })
  assert.equal((await from('2001:db8::1')).statusCode, 200)
  assert.equal((await from('2001:db8::2')).statusCode, 429)
})

test('each user has a bucket', async (t) => {
  const { app } = await start(t, { tiers: { free: { perMinute: 60, burst: 2 } } })
  await app.rateLimits.takeStream(user('ada'))
  await app.rateLimits.takeStream(user('ada'))
  await assert.rejects(app.rateLimits.takeStream(user('ada')), (error: unknown) => {
    assert.ok(error instanceof TunnelError && error.code === 'RATE_LIMITED')
    assert.ok((error.retryAfterMs ?? 0) > 0 && (error.retryAfterMs ?? 0) <= 1_000)
    return true
  })
  await app.rateLimits.takeStream(user('bob'))
})

test('a user with tokens of two tiers has one bucket, and the tier of the token in hand decides its size', async (t) => {
  // Rates so low that no token comes back while the test runs.
  const { app } = await start(t, {
    tiers: { free: { perMinute: 1, burst: 2 }, premium: { perMinute: 2, burst: 4 } },
  })
  const take = (tier: 'free' | 'premium') => app.rateLimits.takeStream(user('ada', tier))
  const limited = (error: unknown) => error instanceof TunnelError && error.code === 'RATE_LIMITED'
  await take('premium')
  await take('premium')
  // Half is left: one of two.
  await take('free')
  await assert.rejects(take('free'), limited)
  await assert.rejects(take('premium'), limited)
})

test('requests and streams take from one bucket, of which each answer tells beside the limit of the address', async (t) => {
  const { app, from } = await start(t, { tiers: { free: { perMinute: 1, burst: 3 } } })
  const first = await from('192.0.2.1', '/mine?sub=ada')
  assert.equal(first.headers['ratelimit-policy'], '"ip";q=600;w=60, "user";q=1;w=60')
  assert.match(String(first.headers.ratelimit), /^"ip";r=599;t=\d+, "user";r=2;t=60$/)
  await app.rateLimits.takeStream(user('ada'))
  assert.equal((await from('192.0.2.2', '/mine?sub=ada')).statusCode, 200)
  const refused = await from('192.0.2.1', '/mine?sub=ada')
  assert.equal(refused.statusCode, 429)
  assert.equal(refused.json().code, 'RATE_LIMITED')
  assert.ok(refused.json().retryAfterMs > 59_000)
  assert.match(String(refused.headers.ratelimit), /"user";r=0;t=60$/)
  await assert.rejects(app.rateLimits.takeStream(user('ada')), { code: 'RATE_LIMITED' })
  // A link for what is to go on, an agent of the user's, and somebody else.
  for (const other of ['/link?sub=ada', '/mine?sub=ada&agent', '/link?sub=ada&agent', '/mine?sub=bob'])
    assert.equal((await from('192.0.2.1', other)).statusCode, 200, other)
})

test('who asks on and on after a refusal is answered later and later, and somebody else at once', async (t) => {
  const clock = new VirtualClock()
  t.after(replaceSystemClock(clock))
  const { from } = await start(t, { tiers: { free: { perMinute: 1, burst: 1 } } })
  assert.equal((await from('192.0.2.1', '/mine?sub=ada')).statusCode, 200)
  let answered = 0
  const refused = Array.from({ length: 100 }, async () => {
    const { statusCode, headers } = await from('192.0.2.1', '/mine?sub=ada')
    answered++
    return { statusCode, closes: headers.connection === 'close' }
  })
  assert.equal((await from('192.0.2.1', '/mine?sub=bob')).statusCode, 200)
  assert.ok(answered > 0 && answered < 50, `${answered} answered`)
  await clock.run(1_000)
  const answers = await Promise.all(refused)
  assert.deepEqual(new Set(answers.map(({ statusCode }) => statusCode)), new Set([429]))
  // Some wait; the connections of those beside them are not kept.
  const closing = answers.filter(({ closes }) => closes).length
  assert.ok(closing > 0 && closing < 50, `${closing} closed`)
})

test('of 300 requests at once exactly those pass that the bucket holds', async (t) => {
  const { from } = await start(t, { tiers: { free: { perMinute: 1, burst: 100 } } })
  const answers = await Promise.all(Array.from({ length: 300 }, () => from('192.0.2.1', '/mine?sub=ada')))
  assert.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 100)
  assert.equal(answers.filter(({ statusCode }) => statusCode === 429).length, 200)
})
