import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Visit, Visits } from '../../../plugins/gateway/visits.ts'
import type { TunnelError } from '../../../protocol/codec/errors.ts'

const DAY_MS = 86_400_000

test('a stream of a caller ends with its token, and not before, however far off that is', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 })
  const ends: TunnelError[] = []
  let over: (error: TunnelError | undefined) => void = () => {}
  const visit: Pick<Visit, 'isLasting' | 'begun' | 'reset'> = {
    isLasting: true,
    begun: Promise.resolve(),
    reset(error) {
      ends.push(error)
      over(error)
    },
  }
  const guest = { head: {}, carry() {}, over() {} }
  const app = { forward: { admit: async () => guest }, letIn() {} }
  const visits = new Visits(app as unknown as FastifyInstance)
  const user = { sub: 'alice', expiresAtMs: Date.now() + 40 * DAY_MS }
  const request = { user, id: 'one', raw: { socket: {} } } as unknown as FastifyRequest
  const asked = { kind: 'http', machine: 'home' } as const
  await visits.open(request, { raw: {} } as FastifyReply, asked, 1, (_head, onOver) => {
    over = onOver
    return visit as Visit
  })
  t.mock.timers.tick(39 * DAY_MS)
  assert.deepEqual(ends, [])
  t.mock.timers.tick(DAY_MS)
  assert.deepEqual(
    ends.map(({ code }) => code),
    ['TOKEN_EXPIRED'],
  )
})
