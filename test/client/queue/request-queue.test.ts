import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadline } from '../../../client/deadline.ts'
import type { QueueOptions } from '../../../client/options.ts'
import { RequestQueue } from '../../../client/queue/request-queue.ts'
import { systemClock } from '../../../protocol/clock.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import type { Priority } from '../../../protocol/codec/heads.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const OPTIONS: QueueOptions = {
  maxRequests: 100,
  maxBytes: 1_000_000,
  backpressureAt: 0.8,
  drainAt: 0.4,
  whenFull: 'refuse',
  persist: 'none',
  dir: '',
}
const queueOf = (options: Partial<QueueOptions> = {}) => new RequestQueue({ ...OPTIONS, ...options })
const patient = (signal?: AbortSignal) => new Deadline(systemClock, signal, undefined, 'nothing came')

/** Enters and stands in line, as a request does. */
async function acquire(
  queue: RequestQueue,
  priority: Priority = 'normal',
  deadline = patient(),
  bytes = 0,
): Promise<() => void> {
  const queued = { priority, bytes, deadline }
  queue.enter(queued)
  return queue.turn(queued)
}

test('a place is given at once while there is one, and comes back once however often it is released', async () => {
  const queue = queueOf({ maxRequests: 10, backpressureAt: 1 })
  queue.setCapacity(1)
  const release = await acquire(queue)
  assert.equal(queue.active, 1)
  release()
  release()
  assert.equal(queue.active, 0)
})

test('who waits is served by priority, first in first out, and the low ones do not starve', async () => {
  const queue = queueOf({ maxRequests: 100, backpressureAt: 1 })
  const order: string[] = []
  const served = []
  for (let index = 0; index < 20; index++) {
    for (const priority of ['low', 'high'] as const) {
      served.push(
        acquire(queue, priority).then((release) => {
          order.push(`${priority}${index}`)
          release()
        }),
      )
    }
  }
  queue.setCapacity(1)
  await Promise.all(served)
  const first = Array.from({ length: 16 }, (_, index) => `high${index}`)
  assert.deepEqual(order.slice(0, 17), [...first, 'low0'])
})

test('a full queue refuses, and tells of the pressure before and of its end', async () => {
  const queue = queueOf({ maxRequests: 4, backpressureAt: 0.5 })
  const told: string[] = []
  queue.on('backpressure', ({ waiting }) => told.push(`pressure at ${waiting}`))
  queue.on('drain', ({ waiting }) => told.push(`drain at ${waiting}`))
  const waiting = Array.from({ length: 4 }, () => acquire(queue))
  await assert.rejects(acquire(queue), { code: 'QUEUE_FULL', category: 'server' })
  queue.setCapacity(3)
  const places = await Promise.all(waiting.slice(0, 3))
  assert.deepEqual(told, ['pressure at 2', 'drain at 1'])
  for (const release of places) release()
  ;(await waiting[3])?.()
  await queue.idle()
})

test('a caller that gives up leaves the queue, and what is cleared is turned away', async () => {
  const queue = queueOf({ maxRequests: 4, backpressureAt: 1 })
  const abort = new AbortController()
  const deadline = patient(abort.signal)
  const given = acquire(queue, 'normal', deadline)
  const cleared = acquire(queue, 'low')
  abort.abort()
  await assert.rejects(given, { code: 'ABORTED' })
  assert.equal(queue.size, 1)
  queue.close(new TunnelError('LINK_LOST', 'no link', { hop: 'client' }))
  await assert.rejects(cleared, { code: 'LINK_LOST' })
  assert.equal(queue.size, 0)
})

test('the queue is idle when the last that waited has given up', async () => {
  const queue = queueOf({ maxRequests: 4, backpressureAt: 1 })
  const abort = new AbortController()
  const waiting = acquire(queue, 'normal', patient(abort.signal))
  const idle = queue.idle()
  abort.abort()
  await assert.rejects(waiting, { code: 'ABORTED' })
  await idle
})

test('one that waits in vain is told that the link is full, and not that its target did not answer', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const queue = queueOf({ maxRequests: 10, backpressureAt: 0.8 })
  queue.setCapacity(1)
  await acquire(queue)
  const waiting = acquire(
    queue,
    'normal',
    new Deadline(systemClock, undefined, 1_000, 'the target did not answer'),
  )
  t.mock.timers.tick(1_000)
  await assert.rejects(waiting, { code: 'QUEUE_FULL', message: /all 1 that/ })
})

test('bytes count as well as requests, for refusal, backpressure and drain', async () => {
  const queue = queueOf({ maxBytes: 100, backpressureAt: 0.8, drainAt: 0.4 })
  const told: string[] = []
  queue.on('backpressure', ({ waitingBytes }) => told.push(`pressure at ${waitingBytes}`))
  queue.on('drain', ({ waitingBytes }) => told.push(`drain at ${waitingBytes}`))
  const first = acquire(queue, 'normal', patient(), 60)
  await assert.rejects(acquire(queue, 'high', patient(), 41), { code: 'QUEUE_FULL' })
  const second = acquire(queue, 'low', patient(), 40)
  assert.deepEqual(queue.sizes, { high: 0, normal: 1, low: 1 })
  queue.setCapacity(2)
  for (const release of await Promise.all([first, second])) release()
  assert.deepEqual(told, ['pressure at 100', 'drain at 40'])
  assert.equal(queue.bytes, 0)
  // One that goes at once waits for nothing, however large it is.
  ;(await acquire(queue, 'normal', patient(), 1_000))()
})

test('a full queue that sheds turns away the oldest of the lowest priority, and only for a higher one', async () => {
  const queue = queueOf({ maxRequests: 3, maxBytes: 100, whenFull: 'shed' })
  const [first, second, third] = [
    acquire(queue, 'low', patient(), 30),
    acquire(queue, 'low', patient(), 30),
    acquire(queue, 'normal', patient(), 30),
  ]
  await assert.rejects(acquire(queue, 'low'), { code: 'QUEUE_FULL' })
  const high = acquire(queue, 'high', patient(), 10)
  await assert.rejects(first, { code: 'QUEUE_FULL', message: /priority high/ })
  // 100 - 10 bytes can be had only when both others go.
  const large = acquire(queue, 'high', patient(), 90)
  await assert.rejects(second, { code: 'QUEUE_FULL' })
  await assert.rejects(third, { code: 'QUEUE_FULL' })
  await assert.rejects(acquire(queue, 'high', patient(), 1), { code: 'QUEUE_FULL' })
  queue.setCapacity(2)
  await Promise.all([high, large])
})

test('one that is still being accepted is counted, and may be shed before its turn can come', async () => {
  const queue = queueOf({ maxRequests: 1, whenFull: 'shed' })
  const queued = { priority: 'low', bytes: 0, deadline: patient() } as const
  queue.enter(queued)
  assert.equal(queue.size, 1)
  const high = acquire(queue, 'high')
  await assert.rejects(queue.turn(queued), { code: 'QUEUE_FULL' })
  queue.setCapacity(1)
  await high
  assert.equal(queue.size, 0)
})

test('under any mix low gets its share, and a high request waits behind at most one other', async () => {
  const queue = queueOf({ maxRequests: 10_000 })
  const order: Priority[] = []
  const enter = (priority: Priority) =>
    void acquire(queue, priority).then((release) => {
      order.push(priority)
      setImmediate(release)
    })
  for (let index = 0; index < 400; index++) for (const priority of ['low', 'normal'] as const) enter(priority)
  queue.setCapacity(1)
  while (order.length < 100) await new Promise(setImmediate)
  const before = order.length
  enter('high')
  while (!order.includes('high')) await new Promise(setImmediate)
  assert.ok(order.indexOf('high') <= before + 1, `behind ${order.indexOf('high') - before}`)
  assert.ok(order.filter((priority) => priority === 'low').length >= before / 5)
})

test('nobody is turned away for a request that has no room all the same', async () => {
  const queue = queueOf({ maxRequests: 2, whenFull: 'shed' })
  const low = { priority: 'low', bytes: 0, deadline: patient() } as const
  queue.enter(low)
  // Accepted before, such as those that are restored: they have room whatever is there.
  for (let count = 0; count < 2; count++)
    queue.enter({ priority: 'high', bytes: 0, deadline: patient() }, true)
  await assert.rejects(acquire(queue, 'high'), { code: 'QUEUE_FULL', message: /3 of 2 requests/ })
  assert.equal(low.deadline.reason, undefined)
  assert.deepEqual(queue.sizes, { high: 2, normal: 0, low: 1 })
})

test('a queue that is closed gives up what comes to it later too, until it is open again', async () => {
  const queue = queueOf()
  queue.setCapacity(0)
  const over = new TunnelError('ABORTED', 'over', { hop: 'client' })
  const waiting = acquire(queue)
  queue.close(over)
  await assert.rejects(waiting, over)
  await assert.rejects(acquire(queue), over)
  assert.equal(queue.size, 0)
  queue.open()
  queue.setCapacity(1)
  ;(await acquire(queue))()
})

test('what moves puts off the end of a wait, and never past the time given', async () => {
  const clock = new VirtualClock()
  const deadline = new Deadline(clock, undefined, 100, 'nothing came')
  clock.setTimer(() => deadline.moved(150), 90)
  const reasonAt = async (ms: number) => {
    await clock.run(ms)
    return deadline.reason?.code
  }
  assert.equal(await reasonAt(149), undefined)
  assert.equal(await reasonAt(151), 'TIMEOUT')
})
