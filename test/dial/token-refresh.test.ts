import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { TokenProvider } from '../../dial/token.ts'
import { TokenRefresh } from '../../dial/token-refresh.ts'
import type { Link } from '../../protocol/link/link.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const START_SECONDS = 1_700_000_000

/** A JWT that is over after so many seconds of the test's time. */
function tokenFor(seconds: number): string {
  const claims = { exp: START_SECONDS + seconds }
  return `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.${Math.abs(seconds)}`
}

function setUp(t: TestContext, provider: TokenProvider, aheadSeconds = 0) {
  const clock = new VirtualClock()
  const sent: string[] = []
  const told: string[] = []
  const now = () => (START_SECONDS + aheadSeconds) * 1_000 + clock.now()
  const refresh = new TokenRefresh(provider, clock, ({ code }) => told.push(code), now)
  t.after(() => refresh.stop())
  const link = { sendAuth: (token: string) => sent.push(token) } as unknown as Link
  return { refresh, link, sent, told, run: (ms: number) => clock.run(clock.now() + ms) }
}

test('a token that expires without another is told once, however often its provider is asked', async (t) => {
  const token = tokenFor(10)
  let asked = 0
  const provider = () => {
    asked++
    return token
  }
  const { refresh, link, sent, told, run } = setUp(t, provider)
  refresh.watch(link, token)
  await run(60_000)
  assert.ok(asked > 3)
  assert.deepEqual(told, ['TOKEN_EXPIRED'])
  assert.deepEqual(sent, [])
})

test('a token that is given as text is told of when it expires', async (t) => {
  const token = tokenFor(10)
  const { refresh, link, told, run } = setUp(t, token)
  refresh.watch(link, token)
  await run(60_000)
  assert.deepEqual(told, ['TOKEN_EXPIRED'])
})

test('the next token goes over the link when the provider has it, also after the old one has expired', async (t) => {
  const [old, fresh] = [tokenFor(10), tokenFor(600)]
  let given = old
  const { refresh, link, sent, told, run } = setUp(t, () => given)
  refresh.watch(link, old)
  await run(20_000)
  given = fresh
  await run(5_000)
  assert.deepEqual([sent, told], [[fresh], ['TOKEN_EXPIRED']])
})

test('a clock that is ahead says nothing of a token that the proxy has taken', async (t) => {
  const [old, fresh] = [tokenFor(600), tokenFor(1_200)]
  let given = old
  let asked = 0
  const provider = () => {
    asked++
    return given
  }
  const { refresh, link, sent, told, run } = setUp(t, provider, 7_200)
  refresh.watch(link, old)
  await run(300_000)
  assert.ok(asked > 0 && asked <= 5, String(asked))
  given = fresh
  await run(61_000)
  assert.deepEqual([sent, told], [[fresh], []])

  const text = setUp(t, old, 7_200)
  text.refresh.watch(text.link, old)
  await text.run(900_000)
  assert.deepEqual(text.told, [])
})
