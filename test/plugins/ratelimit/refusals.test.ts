import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyReply } from 'fastify'
import { Refusals } from '../../../plugins/ratelimit/refusals.ts'

test('whoever is refused with bodies again and again hears of it later than whoever sends none', async () => {
  const until = async (headers: Record<string, string>): Promise<number> => {
    let held = 0
    const refusals = new Refusals({
      now: () => 0,
      setTimer: (goOn) => {
        held++
        goOn()
      },
      clearTimer() {},
    })
    const reply = { request: { headers } } as unknown as FastifyReply
    let atOnce = 0
    for (;;) {
      await refusals.turn('eve', reply)
      if (held > 0) return atOnce
      atOnce++
    }
  }
  assert.equal(await until({}), 2)
  assert.equal(await until({ 'content-length': '1' }), 0)
  assert.equal(await until({ 'transfer-encoding': 'chunked' }), 0)
})
