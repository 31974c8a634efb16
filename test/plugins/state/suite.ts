import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import type { State } from '../../../plugins/state/index.ts'

/** A state with nothing in it, and a way to let its clock run; the test's end closes it. */
export type OpenState = (t: TestContext) => Promise<{ state: State; advance(ms: number): void }>

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
