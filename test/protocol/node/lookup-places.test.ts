import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LookupPlaces } from '../../../protocol/node/lookup-places.ts'

/** Takes all that `users` get, and returns what gives each back. */
function takeAll(places: LookupPlaces, users: readonly string[]): (() => void)[] {
  const taken: (() => void)[] = []
  for (const user of users) while (places.isFreeFor(user)) taken.push(places.take(user))
  return taken
}

test('of seven lookups users whose names are slow have five together, one each, until they were quick for a minute', () => {
  let nowMs = 0
  const places = new LookupPlaces(7, { now: () => nowMs })
  const slow = Array.from({ length: 8 }, (_, index) => `slow ${index}`)
  for (const user of slow) {
    // Of whom nothing is known yet may have two.
    const [giveBack, ...more] = takeAll(places, [user])
    assert.equal(more.length, 1)
    for (const quickly of more) quickly()
    nowMs += 1_001
    giveBack?.()
  }
  const second = takeAll(places, slow)
  assert.deepEqual([second.length, places.isFull], [5, false])
  const quick = takeAll(places, ['ada'])
  assert.equal(quick.length, 2)
  for (const giveBack of [...quick, ...second]) giveBack()
  // A quick one does not make up for a slow one at once.
  assert.equal(takeAll(places, ['slow 0']).length, 1)
  nowMs += 66_000
  assert.equal(takeAll(places, ['slow 1']).length, 2)
})

test('of two lookups one is never held by users whose names are slow', () => {
  let nowMs = 0
  const places = new LookupPlaces(2, { now: () => nowMs })
  const first = takeAll(places, ['slow 0', 'slow 1'])
  assert.equal(first.length, 2)
  nowMs = 2_000
  for (const giveBack of first) giveBack()
  assert.equal(takeAll(places, ['slow 0', 'slow 1']).length, 1)
  assert.equal(takeAll(places, ['ada']).length, 1)
})
