import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashOfCode, newCode } from '../../../plugins/enrolment/code.ts'
import { EnrolmentCodes } from '../../../plugins/enrolment/codes.ts'
import { EmbeddedState } from '../../../plugins/state/embedded.ts'
import type { Json } from '../../../plugins/state/state.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { tempFolder } from '../../support/tree.ts'

const OPTIONS = { codeMs: 600_000, maxCodesPerUser: 3, tokenMs: 1 }
const ALICE = { user: 'alice', tier: 'free', machine: 'home' }

const refusedWith = (code: string) => (error: unknown) => {
  assert.ok(error instanceof TunnelError)
  assert.equal(error.code, code)
  return true
}

test('a code has 80 bits in four groups, and is read however a person types it', () => {
  const codes = Array.from({ length: 200 }, newCode)
  assert.equal(new Set(codes).size, 200)
  for (const code of codes) assert.match(code, /^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$/)
  assert.equal(hashOfCode('0123-4567-89AB-1D0F'), hashOfCode(' ol23 4567 89ab idof '.replace('ol', '0l')))
  for (const wrong of ['', '0123', 'U'.repeat(16), '0'.repeat(17), 'ß'.repeat(16)])
    assert.equal(hashOfCode(wrong), undefined)
})

test('a code is good once, of two attempts at once too, and is kept as its hash alone', async (t) => {
  const state = await EmbeddedState.open(await tempFolder(t))
  t.after(() => state.close())
  const codes = new EnrolmentCodes(state, OPTIONS)
  const { code } = await codes.make(ALICE)
  const stored = JSON.stringify(await state.list('enrolment'))
  assert.ok(!stored.includes(code) && !stored.includes(code.replaceAll('-', '')))
  const attempts = await Promise.allSettled(Array.from({ length: 8 }, () => codes.use(code.toLowerCase())))
  const good = attempts.filter(({ status }) => status === 'fulfilled')
  assert.deepEqual(good, [{ status: 'fulfilled', value: ALICE }])
  for (const wrong of [code, newCode(), '', 'x'])
    await assert.rejects(codes.use(wrong), refusedWith('TICKET_INVALID'))
})

test('a later code for a machine ends the earlier one, and a user has a bounded number', async (t) => {
  const state = await EmbeddedState.open(await tempFolder(t))
  t.after(() => state.close())
  const codes = new EnrolmentCodes(state, OPTIONS)
  const first = await codes.make(ALICE)
  const second = await codes.make(ALICE)
  await assert.rejects(codes.use(first.code), refusedWith('TICKET_INVALID'))
  const many = await Promise.allSettled(
    Array.from({ length: 6 }, (_, index) => codes.make({ ...ALICE, machine: `m${index}` })),
  )
  assert.equal(many.filter(({ status }) => status === 'fulfilled').length, 2)
  for (const made of many) if (made.status === 'rejected') assert.ok(refusedWith('RATE_LIMITED')(made.reason))
  // Somebody else is not told no for it, and what is used makes room.
  await codes.make({ ...ALICE, user: 'bob' })
  assert.deepEqual(await codes.use(second.code), ALICE)
  await codes.make({ ...ALICE, machine: 'm9' })
})

test('a code expires, and leaves nothing behind', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
  const state = await EmbeddedState.open(await tempFolder(t))
  t.after(() => state.close())
  const codes = new EnrolmentCodes(state, OPTIONS)
  const [late, used] = [await codes.make(ALICE), await codes.make({ ...ALICE, machine: 'nas' })]
  await codes.use(used.code)
  t.mock.timers.tick(OPTIONS.codeMs)
  await assert.rejects(codes.use(late.code), refusedWith('TICKET_INVALID'))
  await codes.make({ ...ALICE, user: 'bob' })
  assert.equal((await state.list('enrolment')).length, 1)
  assert.equal((await state.list('enrolment-used')).length, 0)
})

test("a new code waits for nobody else's, however many there are, and none of them keeps a user from one", async (t) => {
  const state = await EmbeddedState.open(await tempFolder(t))
  t.after(() => state.close())
  const codes = new EnrolmentCodes(state, OPTIONS)
  const others = Array.from({ length: 10_000 }, (_, index): [string, Json] => [
    `k${index}`,
    { ...ALICE, user: `u${index}`, hash: 'x', expiresAtMs: Date.now() + OPTIONS.codeMs },
  ])
  const list = t.mock.method(state, 'list', async () => others)
  const { code } = await codes.make(ALICE)
  assert.deepEqual(await codes.use(code), ALICE)
  assert.equal(list.mock.callCount(), 0)
})

test('a user has no more codes where several proxies make them at once, and what is used at one makes room at the other', async (t) => {
  const state = await EmbeddedState.open(await tempFolder(t))
  t.after(() => state.close())
  const proxies = [new EnrolmentCodes(state, OPTIONS), new EnrolmentCodes(state, OPTIONS)] as const
  const made = await Promise.allSettled(
    Array.from({ length: 12 }, (_, index) => proxies[index % 2]!.make({ ...ALICE, machine: `m${index}` })),
  )
  const good = made.filter((each) => each.status === 'fulfilled')
  assert.equal(good.length, OPTIONS.maxCodesPerUser)
  assert.equal((await state.list('enrolment')).length, OPTIONS.maxCodesPerUser)
  await assert.rejects(proxies[0].make({ ...ALICE, machine: 'm12' }), refusedWith('RATE_LIMITED'))
  await proxies[1].use(good[0]!.value.code)
  await proxies[0].make({ ...ALICE, machine: 'm12' })
  await assert.rejects(proxies[0].make({ ...ALICE, machine: 'm13' }), refusedWith('RATE_LIMITED'))
})
