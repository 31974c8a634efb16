import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { dropReads } from '../../../protocol/node/drop-reads.ts'

/** How often so many sockets are read in a time, in ms, of peers that send without end. */
async function readsOf(t: TestContext, sockets: number, ms: number): Promise<number> {
  let reads = 0
  const endless = Array.from(
    { length: sockets },
    () =>
      new Readable({
        highWaterMark: 1,
        read() {
          reads++
          this.push('x')
        },
      }),
  )
  for (const socket of endless) dropReads(socket as Socket)
  for (let passed = 0; passed < ms; passed++) {
    await new Promise(setImmediate)
    t.mock.timers.tick(1)
  }
  for (const socket of endless) socket.destroy()
  await new Promise(setImmediate)
  return reads
}

test('sockets whose reads are dropped are read seldom: one more and more so, and many together as one', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  // Each pause is twice the last, and a stream reads ahead by one.
  assert.ok((await readsOf(t, 1, 1_000)) <= 16)
  // Each twice at once, and then all together 125 times a second.
  const reads = await readsOf(t, 100, 1_000)
  assert.ok(reads <= 450, `${reads} reads`)
  // What has closed counts no more, nor what was closed before.
  const closed = Array.from({ length: 100 }, () => new Readable().destroy())
  await new Promise(setImmediate)
  for (const socket of closed) dropReads(socket as Socket)
  const later = await readsOf(t, 1, 1_000)
  assert.ok(later >= 7, `${later} reads`)
})
