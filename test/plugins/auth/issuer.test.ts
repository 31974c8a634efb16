import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { IssuerKeys } from '../../../plugins/auth/issuer-keys.ts'
import { Schemes } from '../../../plugins/auth/schemes.ts'
import { TokenReader } from '../../../plugins/auth/token-reader.ts'
import { verifierOf } from '../../../plugins/auth/verifier.ts'
import type { Clock } from '../../../protocol/clock.ts'
import { forgeries } from '../../support/forgeries.ts'
import {
  jwkOf,
  type KeyServer,
  type SigningKey,
  signingKey,
  startKeyServer,
  tokenBy,
} from '../../support/issuer.ts'

import { until } from '../../support/proxy.ts'

const SECRET = 'a secret of a test that is long enough'
const DEMANDS = { issuer: 'https://id.example', audience: 'tunnel', clockToleranceMs: 1_000 }
const MINUTE_MS = 60_000
const TIMES = { maxAgeMs: 10 * MINUTE_MS, holdMs: 60 * MINUTE_MS, cooldownMs: MINUTE_MS / 2 }
const KEYS = {
  RS256: signingKey('RS256', 'rsa'),
  PS256: signingKey('PS256', 'pss'),
  ES256: signingKey('ES256', 'ec'),
  EdDSA: signingKey('EdDSA', 'ed'),
}

const claims = (more: object = {}): Record<string, unknown> => {
  const now = Math.floor(Date.now() / 1_000)
  return { sub: 'alice', iss: DEMANDS.issuer, aud: DEMANDS.audience, iat: now, exp: now + 3_600, ...more }
}

async function start(t: TestContext, keys: KeyServer['keys'] = Object.values(KEYS).map((key) => jwkOf(key))) {
  const server = await startKeyServer(t, keys)
  let nowMs = 0
  const clock: Clock = { now: () => nowMs, setTimer: () => undefined, clearTimer: () => {} }
  const failures: unknown[] = []
  const issuer = new IssuerKeys({ url: server.url, ...TIMES }, DEMANDS, clock, (error) =>
    failures.push(error),
  )
  const own = verifierOf(SECRET, ['HS256'], DEMANDS)
  const reader = new TokenReader(own, issuer, new Schemes(() => {}), DEMANDS.clockToleranceMs)
  const codeOf = (token: string): Promise<string> =>
    reader.read(token).then(
      ({ sub }) => sub,
      (error: { code: string }) => error.code,
    )
  const advance = (ms: number) => {
    nowMs += ms
  }
  return { server, reader, codeOf, advance, failures }
}

test('tokens of the issuer hold with each algorithm, with one fetch, and beside those of the server itself', async (t) => {
  const { server, codeOf, reader } = await start(t)
  for (const key of Object.values(KEYS)) assert.equal(await codeOf(tokenBy(key, claims())), 'alice', key.alg)
  assert.equal(await codeOf(tokenBy(KEYS.EdDSA, claims(), { typ: 'at+jwt' })), 'alice')
  assert.equal(await codeOf(tokenBy(KEYS.EdDSA, claims({ aud: ['other', 'tunnel'] }))), 'alice')
  assert.equal(await codeOf(tokenBy(KEYS.EdDSA, claims({ exp: 1 }))), 'TOKEN_EXPIRED')
  const subjects = [
    'auth0|5f7c',
    'google-oauth2|1',
    'alice+x@example.com',
    '-_AbC=',
    '00u1:abc~x',
    'a'.repeat(128),
  ]
  for (const sub of subjects) assert.equal(await codeOf(tokenBy(KEYS.ES256, claims({ sub }))), sub)
  // Its session is none of ours: what ends a session here would end all that the issuer gives out in its own.
  const user = await reader.read(tokenBy(KEYS.ES256, claims({ sid: 'a-session-of-the-issuer' })))
  assert.equal(user.credential?.session, undefined)
  assert.equal(server.asked.length, 1)
})

test('none of the forgeries is taken, none is quoted, and no key id is ever fetched', async (t) => {
  const { server, reader } = await start(t)
  const forged = forgeries({ claims: claims(), secret: SECRET, keys: KEYS, keysUrl: server.url })
  assert.ok(Object.keys(forged).length >= 60)
  for (const [what, token] of Object.entries(forged)) {
    await assert.rejects(reader.read(token), (error: { code: string; message: string }) => {
      assert.equal(error.code, 'TOKEN_INVALID', what)
      assert.ok(!error.message.includes(token), what)
      return true
    })
  }
  assert.deepEqual([...new Set(server.asked)], ['/jwks'])
  assert.equal(server.asked.length, 1)
  assert.equal((await reader.read(tokenBy(KEYS.RS256, claims()))).sub, 'alice')
})

test('a key that is new at the issuer is found, and one that was withdrawn holds for the stated time', async (t) => {
  const before = signingKey('ES256', 'before')
  const after = signingKey('ES256', 'after')
  const { server, codeOf, advance } = await start(t, [jwkOf(before)])
  assert.equal(await codeOf(tokenBy(before, claims())), 'alice')
  server.keys = [jwkOf(after)]
  advance(TIMES.cooldownMs)
  assert.equal(await codeOf(tokenBy(after, claims())), 'alice')
  assert.equal(await codeOf(tokenBy(before, claims())), 'TOKEN_INVALID')
  assert.equal(server.asked.length, 2)
  // It is asked for again when it is old, while the known key holds.
  server.keys = []
  advance(TIMES.maxAgeMs)
  assert.equal(await codeOf(tokenBy(after, claims())), 'alice')
  await until(() => server.asked.length === 3)
})

test('a flood of key ids that there are not costs the issuer one request in the stated time', async (t) => {
  const { server, codeOf, advance } = await start(t)
  const unknown = signingKey('ES256', 'unknown')
  const flood = () =>
    Promise.all(
      Array.from({ length: 50 }, (_, index) => codeOf(tokenBy({ ...unknown, kid: `k${index}` }, claims()))),
    )
  for (const round of [1, 2, 3]) {
    assert.deepEqual(new Set(await flood()), new Set(['TOKEN_INVALID']))
    assert.deepEqual(new Set(await flood()), new Set(['TOKEN_INVALID']))
    assert.equal(server.asked.length, round)
    assert.equal(await codeOf(tokenBy(KEYS.ES256, claims())), 'alice')
    advance(TIMES.cooldownMs)
  }
})

test('an issuer that is away, wrong or slow is asked seldom; known keys hold, and then it is said that they cannot be read', async (t) => {
  const { server, codeOf, advance, failures } = await start(t)
  const token = () => tokenBy(KEYS.RS256, claims())
  const good = server.keys
  const wrong: KeyServer['keys'][] = [
    (_request, response) => response.writeHead(503).end(),
    (_request, response) => response.writeHead(302, { location: server.url }).end(),
    (_request, response) => response.end('x'.repeat(300_000)),
    (_request, response) => response.end('{"keys":{}}'),
    (request) => request.socket.destroy(),
  ]
  server.keys = wrong[0]!
  assert.equal(await codeOf(token()), 'STATE_UNAVAILABLE')
  assert.equal(await codeOf(token()), 'STATE_UNAVAILABLE')
  assert.equal(server.asked.length, 1)
  advance(TIMES.cooldownMs)
  server.keys = good
  assert.equal(await codeOf(token()), 'alice')
  for (const answer of wrong) {
    server.keys = answer
    advance(TIMES.maxAgeMs)
    const unknown = signingKey('ES256', 'unknown')
    assert.equal(await codeOf(tokenBy(unknown, claims())), 'TOKEN_INVALID')
    assert.equal(await codeOf(token()), 'alice')
  }
  assert.equal(failures.length, 1 + wrong.length)
  advance(TIMES.holdMs)
  assert.equal(await codeOf(token()), 'STATE_UNAVAILABLE')
  server.keys = good
  advance(TIMES.cooldownMs)
  assert.equal(await codeOf(token()), 'alice')
})

test('a key set gives only what may verify a signature, and each key only its own algorithms', async (t) => {
  const open: SigningKey = signingKey('RS256', 'open')
  const { alg: _, ...withoutAlg } = jwkOf(open) as Record<string, unknown>
  const weak = signingKey('RS256', 'weak', 1_024)
  const sealing = signingKey('RS256', 'sealing')
  const twins = [signingKey('ES256', 'twin'), signingKey('ES256', 'twin')] as const
  const secret = { kty: 'oct', k: Buffer.from(SECRET).toString('base64url'), kid: 'secret', alg: 'HS256' }
  const { codeOf } = await start(t, [
    withoutAlg,
    jwkOf(weak),
    jwkOf(sealing, { use: 'enc' }),
    ...twins.map((key) => jwkOf(key)),
    secret,
    { kty: 'RSA', kid: 'broken', n: 'AQAB' },
    { kty: 'EC', crv: 'P-256', kid: ['list'] },
    ...[null, 7, 'key'].map((value) => value as unknown as object),
  ])
  assert.equal(await codeOf(tokenBy(open, claims())), 'alice')
  assert.equal(await codeOf(tokenBy({ ...open, alg: 'PS256' }, claims())), 'alice')
  // Of keys without an id in the token, one fits.
  assert.equal(await codeOf(tokenBy(open, claims(), { kid: undefined })), 'alice')
  for (const key of [weak, sealing, ...twins])
    assert.equal(await codeOf(tokenBy(key, claims())), 'TOKEN_INVALID', key.kid)
})
