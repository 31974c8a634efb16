import assert from 'node:assert/strict'
import { test } from 'node:test'
import { replaceSystemClock } from '../../protocol/clock.ts'
import { simulate } from './simulation.ts'

/** The whole 10,000 of each are the end of `npm run chaos`; a failing seed is replayed with `--seed`. */
const SCHEDULES = 120
const CLUSTER_SCHEDULES = 20

async function play(schedules: number, isCluster: boolean): Promise<void> {
  let bytes = 0
  let faults = 0
  for (let seed = 1; seed <= schedules; seed++) {
    const outcome = await simulate(seed, isCluster)
    assert.deepEqual(outcome.violations, [], `seed ${seed}`)
    bytes += outcome.bytes
    faults += Object.values(outcome.faults).reduce((sum, count) => sum + count, 0)
  }
  // A schedule that does nothing would prove nothing.
  assert.ok(bytes > schedules * 100_000, `${bytes} bytes went through`)
  assert.ok(faults > schedules * 5, `${faults} faults were made`)
}

test('whatever is cut, frozen, moved or killed, and when: the bytes are the same, or an error says why', () =>
  play(SCHEDULES, false))

test('the same holds between replicas, whose links to each other are cut and frozen too', () =>
  play(CLUSTER_SCHEDULES, true))

test('the same seed is the same schedule, and no part of it asks for the time of this machine', async (t) => {
  const asked = (): never => assert.fail('a party goes by the clock of this machine')
  t.after(replaceSystemClock({ now: asked, setTimer: asked, clearTimer: asked }))
  for (const isCluster of [false, true]) {
    const outcome = await simulate(77, isCluster)
    assert.deepEqual(outcome.violations, [])
    assert.deepEqual(await simulate(77, isCluster), outcome)
  }
})
