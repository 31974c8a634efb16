import assert from 'node:assert/strict'
import test from 'node:test'
import { TokenRefresh } from '../../dial/token-refresh.ts'
import { signToken } from '../../plugins/auth/tokens.ts'
import { systemClock } from '../../protocol/clock.ts'
import type { Link } from '../../protocol/link/link.ts'
import { until } from '../support/proxy.ts'

const tokenFor = (ttlSeconds: number) => signToken('s'.repeat(32), { sub: 'alice', ttlSeconds })

/** The one thing of a link that a refresh uses. */
function linkThat(sent: string[]): Link {
  return { sendAuth: (token: string) => sent.push(token) } as unknown as Link
}

test('a token that expires without another is told once, however often its provider is asked', async (t) => {
  const sent: string[] = []
  const told: string[] = []
  const over = tokenFor(-1)
  let asked = 0
  const provider = () => {
    asked++
    return over
  }
  const refresh = new TokenRefresh(provider, systemClock, ({ code }) => told.push(code))
  t.after(() => refresh.stop())
  refresh.watch(linkThat(sent), over)
  await until(() => asked === 3)
  assert.deepEqual(told, ['TOKEN_EXPIRED'])
  assert.deepEqual(sent, [])
})

test('a token that is given as text is told of when it expires', async (t) => {
  const told: string[] = []
  const over = tokenFor(-1)
  const refresh = new TokenRefresh(over, systemClock, ({ code }) => told.push(code))
  t.after(() => refresh.stop())
  refresh.watch(linkThat([]), over)
  await until(() => told.length > 0)
  assert.deepEqual(told, ['TOKEN_EXPIRED'])
})

test('the next token goes over the link when the provider has it, also after the old one has expired', async (t) => {
  const sent: string[] = []
  const told: string[] = []
  const fresh = tokenFor(600)
  const given = [tokenFor(-1), fresh]
  const refresh = new TokenRefresh(
    () => given.shift() ?? fresh,
    systemClock,
    ({ code }) => told.push(code),
  )
  t.after(() => refresh.stop())
  refresh.watch(linkThat(sent), tokenFor(-2))
  await until(() => sent.includes(fresh))
  assert.deepEqual(told, ['TOKEN_EXPIRED'])
})
