import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstRefreshToken } from '../../../plugins/auth/refresh-tokens.ts'
import { Revocations } from '../../../plugins/auth/revocations.ts'
import { Sessions } from '../../../plugins/auth/sessions.ts'
import { EmbeddedState } from '../../../plugins/state/embedded.ts'
import type { Records } from '../../../plugins/state/state.ts'
import { tempFolder } from '../../support/tree.ts'
import { AUTH_SECRET } from '../ground.ts'

const OPTIONS = {
  ...{ secret: AUTH_SECRET, issuer: 'tunnel', audience: 'tunnel', clockToleranceMs: 5_000 },
  ...{ accessTtlMs: 900_000, refreshTtlMs: 86_400_000 },
}

test('a user who is revoked while the state is busy with a refresh gets no token that is younger than that', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000_000_000 })
  const state = await EmbeddedState.open(await tempFolder(t))
  t.after(() => state.close())
  const revocations = new Revocations(state)
  t.after(await revocations.follow(() => {}))
  let meanwhile = async () => {}
  const busy = Object.assign(Object.create(state) as Records, {
    nowMs: () => state.nowMs(),
    get: async (...asked: Parameters<Records['get']>) => state.get(...asked),
    create: async (...asked: Parameters<Records['create']>) => {
      await meanwhile()
      return state.create(...asked)
    },
    replace: async (...asked: Parameters<Records['replace']>) => {
      await meanwhile()
      return state.replace(...asked)
    },
  })
  const sessions = new Sessions(busy, revocations, OPTIONS)
  const [alices, bobs] = ['alice', 'bob'].map((sub) => firstRefreshToken(OPTIONS, { sub })) as [
    string,
    string,
  ]
  const { refreshToken } = await sessions.refresh(alices)
  meanwhile = async () => {
    t.mock.timers.tick(1_000)
    await revocations.revokeUser('alice', OPTIONS.clockToleranceMs)
    t.mock.timers.tick(2 * OPTIONS.clockToleranceMs)
  }
  await assert.rejects(sessions.refresh(refreshToken), { code: 'TOKEN_REVOKED' })
  assert.ok((await sessions.refresh(bobs)).token)
})

test('an answer that was lost is given again for 30 s by the clock of what keeps the records, whatever the replica has', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000_000_000 })
  let nowMs = 2_000_000_000
  const state = await EmbeddedState.open(await tempFolder(t), undefined, () => nowMs)
  t.after(() => state.close())
  const revocations = new Revocations(state)
  t.after(await revocations.follow(() => {}))
  const sessions = new Sessions(state, revocations, OPTIONS)
  const first = firstRefreshToken(OPTIONS, { sub: 'alice' })
  const { refreshToken } = await sessions.refresh(first, 'request-1')
  t.mock.timers.tick(600_000)
  nowMs += 30_000
  assert.equal((await sessions.refresh(first, 'request-1')).expiresAtMs, 1_000_900_000)
  nowMs += 1
  await assert.rejects(sessions.refresh(first, 'request-1'), { code: 'TOKEN_REVOKED' })
  await assert.rejects(sessions.refresh(refreshToken), { code: 'TOKEN_REVOKED' })
})
