import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyReply } from 'fastify'
import { Refusals } from '../../../plugins/ratelimit/refusals.ts'

/** How many refusals of requests that come at once are told before one that is held back for so long, in ms. */
async function refusedBefore(ms: number, headers: Record<string, string>): Promise<number> {
  let heldMs = 0
  const refusals = new Refusals({
    now: () => 0,
    setTimer: (goOn, delayMs) => {
      heldMs = delayMs
      goOn()
    },
    clearTimer() {},
  })
  const reply = { request: { headers } } as unknown as FastifyReply
  for (let count = 0; ; count++) {
    await refusals.turn('eve', reply)
    if (heldMs >= ms) return count
  }
}

test('whoever is refused with bodies again and again hears of it later than whoever sends none', async () => {
  assert.equal(await refusedBefore(1, {}), 2)
  assert.equal(await refusedBefore(1, { 'content-length': '1' }), 0)
  assert.equal(await refusedBefore(1, { 'transfer-encoding': 'chunked' }), 0)
})

test('whoever goes on after some hundred refusals waits longer and longer', async () => {
  assert.equal(await refusedBefore(100, {}), 549)
  assert.equal(await refusedBefore(1_000, {}), 999)
  assert.equal(await refusedBefore(100, { 'content-length': '1' }), 68)
})
