import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClosedStreams } from '../../../protocol/stream/closed-streams.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const recordOf = (id: string) =>
  ({
    subject: undefined,
    error: undefined,
    link: undefined,
    resume: { id, kind: 'ssh', machine: 'home', received: 0, limit: 0, attempt: 1 },
  }) as const

test('what is over is remembered for its time, and the oldest are forgotten first', async () => {
  const clock = new VirtualClock()
  const over = new ClosedStreams(clock, 1_000, 3)
  over.add(recordOf('a'))
  await clock.run(900)
  over.add(recordOf('b'))
  await clock.run(1_100)
  over.add(recordOf('c'))
  assert.equal(over.get('a'), undefined)
  assert.deepEqual(
    [...over.values()].map(({ resume }) => resume.id),
    ['b', 'c'],
  )
  over.add(recordOf('d'))
  over.add(recordOf('e'))
  assert.equal(over.size, 3)
  assert.equal(over.get('b'), undefined)
})

test('it says for how long it has been remembering everything: since it began, at most its time', async () => {
  const clock = new VirtualClock()
  const over = new ClosedStreams(clock, 1_000, 2)
  await clock.run(400)
  assert.equal(over.rememberedMs, 400)
  await clock.run(5_000)
  assert.equal(over.rememberedMs, 1_000)
  over.add(recordOf('a'))
  await clock.run(5_300)
  over.add(recordOf('b'))
  over.add(recordOf('c'))
  // `a` was forgotten before its time: what was opened before it ended may have been here.
  assert.equal(over.rememberedMs, 300)
})
