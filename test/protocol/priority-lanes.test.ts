import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PRIORITIES, type Priority } from '../../protocol/codec/heads.ts'
import { Fifo } from '../../protocol/fifo.ts'
import { PriorityLanes } from '../../protocol/priority-lanes.ts'
import { seededRandom } from '../support/random.ts'

interface Waiter {
  priority: Priority
  number: number
}

function filled(each: number): PriorityLanes<Waiter> {
  const lanes = new PriorityLanes<Waiter>()
  for (let number = 0; number < each; number++) {
    for (const priority of PRIORITIES) lanes.add({ priority, number }, priority)
  }
  return lanes
}

test('while all wait, turns go 16 : 4 : 1, and first in first out inside a priority', () => {
  const lanes = filled(1_000)
  const taken: Record<Priority, number> = { high: 0, normal: 0, low: 0 }
  for (let turn = 0; turn < 210; turn++) {
    const { priority, number } = lanes.next()!
    assert.equal(number, taken[priority]++)
  }
  // Ten rounds; what goes first in a round is not said.
  for (const [priority, share] of [
    ['high', 160],
    ['normal', 40],
    ['low', 10],
  ] as const)
    assert.ok(Math.abs(taken[priority] - share) <= 1, JSON.stringify(taken))
})

test('a priority that has waited for nothing gets no more than its share when it comes', () => {
  const lanes = new PriorityLanes<Waiter>()
  const low = (number: number) => lanes.add({ priority: 'low', number }, 'low')
  for (let number = 0; number < 1_000; number++) low(number)
  for (let turn = 0; turn < 500; turn++) lanes.next()
  for (let number = 0; number < 1_000; number++) lanes.add({ priority: 'normal', number }, 'normal')
  const turns = Array.from({ length: 100 }, () => lanes.next()!.priority)
  const share = turns.filter((priority) => priority === 'low').length
  assert.ok(share === 19 || share === 20, `${share} of 100`)
})

test('those whose turn it is may be passed over, and keep their places', () => {
  const lanes = filled(3)
  assert.deepEqual(
    lanes.next(({ number }) => number === 2),
    { priority: 'high', number: 2 },
  )
  assert.equal(
    lanes.next(() => false),
    undefined,
  )
  assert.equal(lanes.size, 8)
  assert.deepEqual(lanes.next(), { priority: 'high', number: 0 })
  assert.deepEqual(
    lanes.next(({ priority }) => priority === 'low'),
    { priority: 'low', number: 0 },
  )
})

test('one who leaves is not called, and one who is there already keeps the place', () => {
  const lanes = new PriorityLanes<string>()
  for (const name of ['a', 'b', 'c', 'a']) lanes.add(name, 'normal')
  assert.ok(lanes.delete('b', 'normal'))
  assert.ok(!lanes.delete('b', 'normal'))
  assert.deepEqual([lanes.next(), lanes.next(), lanes.next()], ['a', 'c', undefined])
  lanes.add('d', 'low')
  assert.deepEqual([...lanes.values()], ['d'])
  lanes.clear()
  assert.equal(lanes.next(), undefined)
})

test('a Fifo gives everything once and in order, whatever comes and goes between', () => {
  const fifo = new Fifo<number>()
  let pushed = 0
  let shifted = 0
  for (let round = 0; round < 2_000; round++) {
    for (let count = 0; count < (round * 7) % 5; count++) fifo.push(pushed++)
    for (let count = 0; count < (round * 3) % 4 && fifo.length > 0; count++) {
      assert.equal(fifo.at(0), shifted)
      assert.equal(fifo.shift(), shifted++)
    }
    assert.equal(fifo.length, pushed - shifted)
    assert.equal(fifo.at(fifo.length), undefined)
  }
  assert.ok(fifo.length > 100)
  fifo.clear()
  assert.equal(fifo.shift(), undefined)
})

test('under any mix high waits for one turn of another at most, and nobody is passed over for more than two rounds', () => {
  const most = { high: 0, normal: 0, low: 0 }
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed)
    const lanes = new PriorityLanes<Waiter>()
    /** Turns that others have had since the first of the lane stood there. */
    const passed = { high: 0, normal: 0, low: 0 }
    const mix = PRIORITIES.map((priority) => ({ priority, chance: random() }))
    for (let turn = 0; turn < 500; turn++) {
      for (const { priority, chance } of mix)
        if (random() < chance) lanes.add({ priority, number: turn }, priority)
      const waiting = lanes.sizes
      const served = lanes.next()?.priority
      for (const priority of PRIORITIES) {
        passed[priority] = served === priority || waiting[priority] === 0 ? 0 : passed[priority] + 1
        most[priority] = Math.max(most[priority], passed[priority])
      }
    }
  }
  // Two rounds, because whoever has just had a turn is a round behind.
  assert.equal(most.high, 1)
  assert.ok(most.normal <= 2 * (4 + 1) + 3 && most.low <= 2 * (16 + 4) + 2, JSON.stringify(most))
})
