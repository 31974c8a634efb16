import assert from 'node:assert/strict'
import { test } from 'node:test'
import { askToken, askTokenWithin, expiryOf, oneAtATime, refreshInMs } from '../../dial/token.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const jwt = (claims: object) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.sig`

test('the expiry of a JWT is read without verifying, and its absence or nonsense is none', () => {
  assert.equal(expiryOf(jwt({ exp: 1_700_000_000, name: 'Zoë' })), 1_700_000_000_000)
  assert.equal(expiryOf(jwt({})), undefined)
  assert.equal(expiryOf('opaque'), undefined)
  assert.equal(expiryOf('a.%%%.c'), undefined)
})

test('a token is replaced after four fifths of what is left of its life', () => {
  assert.equal(refreshInMs(jwt({ exp: 1_000 }), 900_000), 80_000)
  assert.equal(refreshInMs(jwt({ exp: 1_000 }), 2_000_000), 0)
})

test('a provider that fails or gives nothing is a missing token, with its cause', async () => {
  const cause = new Error('no network')
  await assert.rejects(
    askToken(() => Promise.reject(cause)),
    { code: 'TOKEN_MISSING', cause },
  )
  await assert.rejects(askToken(''), { code: 'TOKEN_MISSING' })
  assert.equal(await askToken(async () => 't'), 't')
})

test('what cannot be a token is refused before it is sent anywhere', async () => {
  // As PowerShell's > leaves it, and a copy from a narrow window.
  const utf16 = Buffer.from('\ufeffe30.e30.sig\r\n', 'utf16le').toString('utf8').trim()
  for (const token of [utf16, 'e30.e\n30.sig', 'e30 .e30', 'ü'])
    await assert.rejects(
      askToken(() => token),
      { code: 'TOKEN_INVALID', hop: 'client' },
    )
})

test('all who want a token at once have one answer, and a provider that never gives one is asked anew', async () => {
  const clock = new VirtualClock()
  const answers: ((token: string) => void)[] = []
  const provider = oneAtATime(() => new Promise<string>((resolve) => answers.push(resolve)), clock)
  const ask = (ms: number) => askTokenWithin(provider, { clock, ms })
  const both = [ask(10_000), ask(60_000)]
  const late = assert.rejects(both[0]!, { code: 'TIMEOUT', hop: 'client' })
  await clock.run(10_000)
  await late
  const third = ask(10_000)
  assert.equal(answers.length, 1)
  answers[0]!('t1')
  assert.deepEqual(await Promise.all([both[1], third]), ['t1', 't1'])
  const never = assert.rejects(ask(10_000), { code: 'TIMEOUT' })
  await clock.run(clock.now() + 60_000)
  await never
  const again = ask(10_000)
  assert.equal(answers.length, 3)
  answers[2]!('t3')
  assert.equal(await again, 't3')
  // The one that is forgotten may still come; nobody waits for it.
  answers[1]!('t2')
  assert.equal(clock.pending, 0)
})

test('a provider that throws at once, or gives up, is asked again by the next', async () => {
  let asked = 0
  const provider = oneAtATime(() => {
    if (asked++ === 0) throw new Error('locked')
    return 't'
  }, new VirtualClock())
  await assert.rejects(askToken(provider), { code: 'TOKEN_MISSING' })
  assert.equal(await askToken(provider), 't')
})
