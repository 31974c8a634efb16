import assert from 'node:assert/strict'
import { memoryUsage } from 'node:process'
import { test } from 'node:test'
import { ChurningMap, ChurningSet } from '../../protocol/churn.ts'
import { collectGarbage, collectYoung } from '../support/garbage.ts'
import { seededRandom } from '../support/random.ts'

test('whatever comes and goes, a churning map and set hold what a map and a set hold, in the same order', () => {
  const random = seededRandom(7)
  const [map, set] = [new Map<number, number>(), new Set<number>()]
  const [churningMap, churningSet] = [new ChurningMap<number, number>(), new ChurningSet<number>()]
  for (let step = 0; step < 20_000; step++) {
    const key = Math.floor(random() * (step % 5_000 < 2_500 ? 20 : 400))
    const does = random()
    if (does < 0.5) {
      map.set(key, step)
      churningMap.set(key, step)
      set.add(key)
      churningSet.add(key)
    } else if (does < 0.999) {
      assert.equal(churningMap.delete(key), map.delete(key))
      assert.equal(churningSet.delete(key), set.delete(key))
    } else {
      for (const each of [map, churningMap, set, churningSet]) each.clear()
    }
    assert.equal(churningMap.get(key), map.get(key))
    assert.equal(churningSet.has(key), set.has(key))
    assert.equal(churningSet.first, set.values().next().value)
    assert.equal(churningMap.size, map.size)
    assert.equal(churningSet.size, set.size)
    if (step % 100 > 0) continue
    assert.deepEqual([...churningMap.values()], [...map.values()])
    assert.deepEqual([...churningSet], [...set])
  }
})

const THINGS = 4_000
const THING_BYTES = 1_024

/** Has things come and go, a few of them there at once. Returns how many bytes the young collector has left of them. */
function leftOf(add: (index: number, thing: object) => void, remove: (index: number, thing: object) => void) {
  // What was there before has grown old.
  collectGarbage()
  const before = memoryUsage().heapUsed
  const here: object[] = []
  for (let index = 0; index < THINGS; index++) {
    const thing = { index, numbers: new Array(THING_BYTES / 8).fill(index + 0.5) }
    here.push(thing)
    add(index, thing)
    if (index >= 30) remove(index - 30, here.shift() as object)
  }
  collectYoung()
  return memoryUsage().heapUsed - before
}

test('what has left a churning map or set is collected young, however old the map is', () => {
  const most = (THINGS * THING_BYTES) / 5
  const map = new ChurningMap<number, object>()
  const ofMap = leftOf(
    (index, thing) => map.set(index, thing),
    (index) => map.delete(index),
  )
  assert.ok(ofMap < most, `${ofMap} bytes are left of a map`)
  const set = new ChurningSet<object>()
  const ofSet = leftOf(
    (_, thing) => set.add(thing),
    (_, thing) => set.delete(thing),
  )
  assert.ok(ofSet < most, `${ofSet} bytes are left of a set`)
})
