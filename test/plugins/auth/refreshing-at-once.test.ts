import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { firstRefreshToken } from '../../../plugins/auth/refresh-tokens.ts'
import { Revocations } from '../../../plugins/auth/revocations.ts'
import { Sessions } from '../../../plugins/auth/sessions.ts'
import { EmbeddedState } from '../../../plugins/state/embedded.ts'
import { RedisState } from '../../../plugins/state/redis.ts'
import type { State } from '../../../plugins/state/state.ts'
import { startRedis } from '../../support/redis.ts'
import { requireSystem } from '../../support/system.ts'
import { tempFolder } from '../../support/tree.ts'
import { AUTH_SECRET } from '../ground.ts'

const OPTIONS = {
  ...{ secret: AUTH_SECRET, issuer: 'tunnel', audience: 'tunnel', clockToleranceMs: 5_000 },
  ...{ accessTtlMs: 900_000, refreshTtlMs: 86_400_000 },
}
const COUNT = 20

async function openEmbedded(t: TestContext): Promise<State> {
  const state = await EmbeddedState.open(await tempFolder(t))
  t.after(() => state.close())
  return state
}

async function openRedis(t: TestContext): Promise<State> {
  const { url } = await startRedis(t)
  const state = await RedisState.open({ url, staleMs: 300_000, failed() {} })
  t.after(() => state.close())
  return state
}

const STATES = [
  { name: 'embedded', open: openEmbedded, skip: undefined },
  { name: 'Redis', open: openRedis, skip: requireSystem('redis-server') },
] as const

for (const { name, open, skip } of STATES)
  suite(`refreshes of one session at once: ${name}`, { skip }, () => {
    async function start(t: TestContext) {
      const state = await open(t)
      const revocations = new Revocations(state)
      t.after(await revocations.follow(() => {}))
      const sessions = new Sessions(state, revocations, OPTIONS)
      // The record of the one has to be made, that of the other is there.
      const first = firstRefreshToken(OPTIONS, { sub: 'alice' })
      const { refreshToken: later } = await sessions.refresh(firstRefreshToken(OPTIONS, { sub: 'bob' }))
      return { sessions, tokens: [first, later] }
    }
    const together = (sessions: Sessions, token: string, idOf: (at: number) => string) =>
      Promise.allSettled(Array.from({ length: COUNT }, (_, at) => sessions.refresh(token, idOf(at))))

    test('of one request all get the same place in the session, which goes on', async (t) => {
      const { sessions, tokens } = await start(t)
      for (const token of tokens) {
        const answers = await together(sessions, token, () => 'request-1')
        const given = answers.map((answer) => {
          if (answer.status === 'rejected') throw answer.reason
          const { session, number } = sessions.read(answer.value.refreshToken)
          return { session, number, expiresAtMs: answer.value.expiresAtMs }
        })
        const { session, number } = sessions.read(token)
        const expiresAtMs = given[0]?.expiresAtMs
        assert.deepEqual(given, Array(COUNT).fill({ session, number: number + 1, expiresAtMs }))
        const [any] = answers
        assert.ok(
          any?.status === 'fulfilled' && (await sessions.refresh(any.value.refreshToken, 'request-2')),
        )
      }
    })

    test('of different requests one at most is answered, and the session ends', async (t) => {
      const { sessions, tokens } = await start(t)
      for (const token of tokens) {
        const answers = await together(sessions, token, (at) => `request-${at}`)
        const given = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
        for (const answer of answers)
          if (answer.status === 'rejected') assert.equal(answer.reason.code, 'TOKEN_REVOKED')
        assert.ok(given.length <= 1, String(given.length))
        for (const { refreshToken } of given)
          await assert.rejects(sessions.refresh(refreshToken, 'request-x'), { code: 'TOKEN_REVOKED' })
        await assert.rejects(sessions.refresh(token, 'request-0'), { code: 'TOKEN_REVOKED' })
      }
    })
  })
