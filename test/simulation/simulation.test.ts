import assert from 'node:assert/strict'
import { test } from 'node:test'
import { simulate } from './simulation.ts'

/** The whole 10,000 are the end of `npm run chaos`; a failing seed is replayed with `--seed`. */
const SCHEDULES = 200

test('whatever is cut, frozen, moved or killed, and when: the bytes are the same, or an error says why', async () => {
  let bytes = 0
  let faults = 0
  for (let seed = 1; seed <= SCHEDULES; seed++) {
    const outcome = await simulate(seed)
    assert.deepEqual(outcome.violations, [], `seed ${seed}`)
    bytes += outcome.bytes
    faults += Object.values(outcome.faults).reduce((sum, count) => sum + count, 0)
  }
  // A schedule that does nothing would prove nothing.
  assert.ok(bytes > SCHEDULES * 100_000, `${bytes} bytes went through`)
  assert.ok(faults > SCHEDULES * 5, `${faults} faults were made`)
})

test('the same seed is the same schedule', async () => {
  assert.deepEqual(await simulate(77), await simulate(77))
})
