import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadline } from '../../client/deadline.ts'
import { RequestQueue } from '../../client/request-queue.ts'
import { systemClock } from '../../protocol/clock.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'

test('a place is given at once while there is one, and comes back once however often it is released', async () => {
  const queue = new RequestQueue({ maxRequests: 10, backpressureAt: 1 })
  queue.setCapacity(1)
  const release = await queue.acquire()
  assert.equal(queue.active, 1)
  release()
  release()
  assert.equal(queue.active, 0)
})

test('who waits is served by priority, first in first out, and the low ones do not starve', async () => {
  const queue = new RequestQueue({ maxRequests: 100, backpressureAt: 1 })
  const order: string[] = []
  const served = []
  for (let index = 0; index < 20; index++) {
    for (const priority of ['low', 'high'] as const) {
      served.push(
        queue.acquire(priority).then((release) => {
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
  const queue = new RequestQueue({ maxRequests: 4, backpressureAt: 0.5 })
  const told: string[] = []
  queue.on('backpressure', ({ waiting }) => told.push(`pressure at ${waiting}`))
  queue.on('drain', ({ waiting }) => told.push(`drain at ${waiting}`))
  const waiting = Array.from({ length: 4 }, () => queue.acquire())
  await assert.rejects(queue.acquire(), { code: 'QUEUE_FULL', category: 'server' })
  queue.setCapacity(3)
  const places = await Promise.all(waiting.slice(0, 3))
  assert.deepEqual(told, ['pressure at 2', 'drain at 1'])
  for (const release of places) release()
  ;(await waiting[3])?.()
  await queue.idle()
})

test('a caller that gives up leaves the queue, and what is cleared is turned away', async () => {
  const queue = new RequestQueue({ maxRequests: 4, backpressureAt: 1 })
  const abort = new AbortController()
  const deadline = new Deadline(systemClock, abort.signal, 60_000, 'nothing came')
  const given = queue.acquire('normal', deadline)
  const cleared = queue.acquire('low')
  abort.abort()
  await assert.rejects(given, { code: 'ABORTED' })
  assert.equal(queue.size, 1)
  queue.clear(new TunnelError('LINK_LOST', 'no link', { hop: 'client' }))
  await assert.rejects(cleared, { code: 'LINK_LOST' })
  assert.equal(queue.size, 0)
})

test('the queue is idle when the last that waited has given up', async () => {
  const queue = new RequestQueue({ maxRequests: 4, backpressureAt: 1 })
  const abort = new AbortController()
  const waiting = queue.acquire('normal', new Deadline(systemClock, abort.signal, 60_000, 'nothing came'))
  const idle = queue.idle()
  abort.abort()
  await assert.rejects(waiting, { code: 'ABORTED' })
  await idle
})

test('one that waits in vain is told that the link is full, and not that its target did not answer', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const queue = new RequestQueue({ maxRequests: 10, backpressureAt: 0.8 })
  queue.setCapacity(1)
  await queue.acquire()
  const waiting = queue.acquire(
    'normal',
    new Deadline(systemClock, undefined, 1_000, 'the target did not answer'),
  )
  t.mock.timers.tick(1_000)
  await assert.rejects(waiting, { code: 'QUEUE_FULL', message: /all 1 that/ })
})
