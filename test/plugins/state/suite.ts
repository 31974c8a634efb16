import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import type { Json, Records, State } from '../../../plugins/state/index.ts'

/** A state with nothing in it, and a way to let its clocks run; the test's end closes it. */
export type OpenState = (
  t: TestContext,
) => Promise<{ state: State; advance(ms: number): void | Promise<void> }>

/** What every implementation of `State` has to do. */
export function stateSuite(name: string, open: OpenState): void {
  suite(`state: ${name}`, () => {
    test('a record is there until it is deleted, and nothing is there before', async (t) => {
      const { state } = await open(t)
      assert.equal(await state.get('pin', 'alice/home'), undefined)
      await state.put('pin', 'alice/home', { keys: ['a', 'b'], count: 2, none: null })
      assert.deepEqual(await state.get('pin', 'alice/home'), { keys: ['a', 'b'], count: 2, none: null })
      await state.put('pin', 'alice/home', 'other')
      assert.equal(await state.get('pin', 'alice/home'), 'other')
      await state.delete('pin', 'alice/home')
      assert.equal(await state.get('pin', 'alice/home'), undefined)
      await state.delete('pin', 'alice/home')
    })

    test('namespaces and keys are kept apart, whatever characters a key has', async (t) => {
      const { state } = await open(t)
      const keys = ['a', 'a!b', 'pin!a', 'a/b', '\u0000', 'ü', '🙂', ' ', 'a'.repeat(1_000)]
      for (const key of keys) {
        await state.put('pin', key, `pin ${key}`)
        await state.put('pins', key, `pins ${key}`)
      }
      for (const key of keys) {
        assert.equal(await state.get('pin', key), `pin ${key}`)
        assert.equal(await state.get('pins', key), `pins ${key}`)
      }
      assert.equal((await state.list('pin')).length, keys.length)
    })

    test('the time is the one by which records end', async (t) => {
      const { state, advance } = await open(t)
      const beganMs = (await state.nowMs?.()) ?? 0
      assert.ok(beganMs > 0)
      await advance(30_000)
      const tookMs = ((await state.nowMs?.()) ?? 0) - beganMs
      assert.ok(tookMs >= 30_000 && tookMs < 60_000, String(tookMs))
    })

    test('a name that could reach another namespace is refused', async (t) => {
      const { state } = await open(t)
      for (const namespace of ['', 'pin!', 'Pin', 'a b', '../x']) {
        await assert.rejects(state.put(namespace, 'key', 1), RangeError)
        await assert.rejects(state.list(namespace), RangeError)
      }
      await assert.rejects(state.put('pin', '', 1), RangeError)
    })

    test('of many creators of one record exactly one wins, and its value stays', async (t) => {
      const { state } = await open(t)
      const won = await Promise.all(Array.from({ length: 20 }, (_, at) => state.create('pin', 'home', at)))
      assert.deepEqual(
        won.filter((isMine) => isMine),
        [true],
      )
      assert.equal(await state.get('pin', 'home'), won.indexOf(true))
      await state.delete('pin', 'home')
      assert.equal(await state.create('pin', 'home', 'again'), true)
    })

    test('a create that comes during a put of the same record does not overwrite it', async (t) => {
      const { state } = await open(t)
      const [, created] = await Promise.all([
        state.put('pin', 'home', 'put'),
        state.create('pin', 'home', 'created'),
      ])
      assert.equal(created, false)
      assert.equal(await state.get('pin', 'home'), 'put')
    })

    test('a list holds the records under a prefix in the order of their keys, up to its limit', async (t) => {
      const { state } = await open(t)
      for (const key of ['bob/a', 'alice/b', 'alice/a', 'alice', 'alicia/a']) await state.put('pin', key, key)
      await state.put('other', 'alice/c', 'no')
      assert.deepEqual(await state.list('pin', 'alice/'), [
        ['alice/a', 'alice/a'],
        ['alice/b', 'alice/b'],
      ])
      assert.deepEqual(
        (await state.list('pin', '', 3)).map(([key]) => key),
        ['alice', 'alice/a', 'alice/b'],
      )
      assert.deepEqual(
        (await state.list('pin', '', 2, 'alice/a')).map(([key]) => key),
        ['alice/b', 'alicia/a'],
      )
      assert.deepEqual(await state.list('pin', 'alice/', 9, 'alice/b'), [])
    })

    for (const kind of ['durable', 'volatile'] as const) {
      const openRecords = async (t: TestContext) => {
        const { state, advance } = await open(t)
        const records: Records = kind === 'durable' ? state : state.volatile
        return { records, advance }
      }
      const brief = { ttlMs: 500 }
      const long = { ttlMs: 60_000 }

      test(`a ${kind} record with an end is gone then, for every way to ask`, async (t) => {
        const { records, advance } = await openRecords(t)
        await records.put('ticket', 'a', 1, brief)
        await records.put('ticket', 'b', { for: 'ever' }, long)
        assert.equal(await records.get('ticket', 'a'), 1)
        assert.equal(await records.create('ticket', 'a', 2, brief), false)
        await advance(600)
        assert.equal(await records.get('ticket', 'a'), undefined)
        assert.equal(await records.take('ticket', 'a'), undefined)
        assert.equal(await records.replace('ticket', 'a', 1, 2, brief), false)
        assert.deepEqual(await records.list('ticket'), [['b', { for: 'ever' }]])
        assert.equal(await records.create('ticket', 'a', 3, long), true)
        assert.equal(await records.get('ticket', 'a'), 3)
      })

      test(`a write gives a ${kind} record the end that it names`, async (t) => {
        const { records, advance } = await openRecords(t)
        await records.put('ticket', 'a', 1, brief)
        await records.put('ticket', 'a', 2, long)
        await records.put('ticket', 'b', 1, long)
        await records.replace('ticket', 'b', 1, 2, brief)
        await advance(600)
        assert.deepEqual(await records.list('ticket'), [['a', 2]])
      })

      test(`of many takers of one ${kind} record exactly one gets it`, async (t) => {
        const { records } = await openRecords(t)
        await records.put('ticket', 'a', { sub: 'alice' }, long)
        const taken = await Promise.all(Array.from({ length: 20 }, () => records.take('ticket', 'a')))
        assert.deepEqual(
          taken.filter((value) => value !== undefined),
          [{ sub: 'alice' }],
        )
        assert.equal(await records.get('ticket', 'a'), undefined)
      })

      test(`of many that replace the same ${kind} record exactly one does`, async (t) => {
        const { records } = await openRecords(t)
        const before = { next: 1, requestId: null }
        await records.put('ticket', 'a', before, long)
        const read = (await records.get('ticket', 'a')) as Json
        const won = await Promise.all(
          Array.from({ length: 20 }, (_, at) => records.replace('ticket', 'a', read, { next: at }, long)),
        )
        assert.deepEqual(
          won.filter((isMine) => isMine),
          [true],
        )
        assert.deepEqual(await records.get('ticket', 'a'), { next: won.indexOf(true) })
        assert.equal(await records.replace('ticket', 'none', before, 1, long), false)
      })
    }

    test('who watches a namespace is told what is written there, until the watch ends', async (t) => {
      const { state, advance } = await open(t)
      const told: [string, Json][] = []
      const stop = state.watch('revoked', {
        written: (key, value) => void told.push([key, value]),
        missed() {},
      })
      await state.put('revoked', 'a', { at: 1 }, { ttlMs: 60_000 })
      await state.put('other', 'b', 2)
      assert.equal(await state.create('revoked', 'c', 3), true)
      assert.equal(await state.create('revoked', 'c', 4), false)
      await state.replace('revoked', 'c', 3, 5)
      await advance(0)
      assert.deepEqual(told, [
        ['a', { at: 1 }],
        ['c', 3],
        ['c', 5],
      ])
      stop()
      await state.put('revoked', 'd', 6)
      await advance(0)
      assert.equal(told.length, 3)
    })

    test('a bucket gives its burst at once, then refuses and says exactly when to come again', async (t) => {
      const { state, advance } = await open(t)
      const limit = { perMinute: 60, burst: 3 }
      for (const remaining of [2, 1, 0]) {
        assert.deepEqual(await state.takeToken('u', limit), { allowed: true, remaining, retryAfterMs: 0 })
      }
      const refused = await state.takeToken('u', limit)
      assert.deepEqual(refused, { allowed: false, remaining: 0, retryAfterMs: 1_000 })
      advance(refused.retryAfterMs - 1)
      assert.equal((await state.takeToken('u', limit)).allowed, false)
      advance(1)
      assert.equal((await state.takeToken('u', limit)).allowed, true)
      assert.equal((await state.takeToken('u', limit)).allowed, false)
    })

    test('a refusal costs nothing, and a rest refills no more than the burst', async (t) => {
      const { state, advance } = await open(t)
      const limit = { perMinute: 600, burst: 2 }
      for (let i = 0; i < 50; i++) await state.takeToken('u', limit)
      advance(3_600_000)
      const answers = await Promise.all([1, 2, 3].map(() => state.takeToken('u', limit)))
      assert.deepEqual(
        answers.map(({ allowed }) => allowed),
        [true, true, false],
      )
    })

    test('over a long time a bucket gives its rate and its burst, no more and no less', async (t) => {
      const { state, advance } = await open(t)
      let allowed = 0
      for (let i = 0; i < 6_000; i++) {
        if ((await state.takeToken('u', { perMinute: 100, burst: 10 })).allowed) allowed++
        advance(10)
      }
      // 5.999 * 10 s at 100 a minute, and the 10 that were there at first.
      assert.ok(allowed >= 109 && allowed <= 110, `${allowed}`)
    })

    test('buckets do not share, costs count, and what can never be had is refused loudly', async (t) => {
      const { state } = await open(t)
      const limit = { perMinute: 60, burst: 10 }
      assert.equal((await state.takeToken('a', limit, 7)).remaining, 3)
      const refused = await state.takeToken('a', limit, 4)
      assert.deepEqual(refused, { allowed: false, remaining: 3, retryAfterMs: 1_000 })
      assert.equal((await state.takeToken('b', limit, 10)).allowed, true)
      await assert.rejects(state.takeToken('a', limit, 11), RangeError)
      await assert.rejects(state.takeToken('a', limit, 0), RangeError)
    })

    test('a limit that is lowered holds from the next call on', async (t) => {
      const { state, advance } = await open(t)
      await state.takeToken('u', { perMinute: 1, burst: 100 }, 100)
      const refused = await state.takeToken('u', { perMinute: 60, burst: 1 })
      assert.equal(refused.allowed, false)
      assert.equal(refused.retryAfterMs, 1_000)
      advance(1_000)
      assert.equal((await state.takeToken('u', { perMinute: 60, burst: 1 })).allowed, true)
    })

    test('closing twice is safe', async (t) => {
      const { state } = await open(t)
      await state.close()
      await state.close()
    })
  })
}
