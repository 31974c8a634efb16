import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Lanes } from '../../../cli/copy/lanes.ts'
import type { SftpSession } from '../../../client/index.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'

test('a copy that is ended waits no longer for the session that it has lost', async () => {
  const lost = new TunnelError('LINK_LOST', 'the link is gone', { hop: 'link' })
  const session: { lost: TunnelError | undefined; close(): void } = { lost: undefined, close() {} }
  let opens = 0
  const lanes = new Lanes({
    async open() {
      if (opens++ === 0) return session as SftpSession
      throw new TunnelError('MACHINE_OFFLINE', 'home is off line', { hop: 'proxy', retryAfterMs: 60_000 })
    },
    patienceMs: 120_000,
    isOver: () => false,
  })
  await lanes.begin()
  const request = lanes.run(1, async () => {
    session.lost = lost
    throw lost
  })
  while (opens < 2) await new Promise(setImmediate)
  await new Promise(setImmediate)
  lanes.close()
  await assert.rejects(request, { code: 'ABORTED', message: 'the copy was ended' })
})

/** Sessions of a server that falls over every request. */
function falling(patienceMs: number): { lanes: Lanes; opens: () => number; request: () => Promise<unknown> } {
  let opens = 0
  const lanes = new Lanes({
    async open() {
      opens++
      return { lost: undefined, close() {} } as unknown as SftpSession
    },
    patienceMs,
    isOver: () => false,
  })
  const request = () =>
    lanes.run(1, async (session) => {
      await new Promise(setImmediate)
      const lost = new TunnelError('AGENT_LOST', 'the SFTP session on home ended', { hop: 'ssh' })
      ;(session as { lost: TunnelError | undefined }).lost = lost
      throw lost
    })
  return { lanes, opens: () => opens, request }
}

test('a request that costs one session after the other is made again with pauses, and not for ever', async () => {
  const { lanes, opens, request } = falling(120_000)
  await lanes.begin()
  const ended = assert.rejects(request(), { code: 'ABORTED' })
  for (let turn = 0; turn < 1_000; turn++) await new Promise(setImmediate)
  // Ten would take more than 20 s.
  assert.ok(opens() < 10, `${opens()} sessions`)
  lanes.close()
  await ended

  const impatient = falling(-1)
  await impatient.lanes.begin()
  await assert.rejects(impatient.request(), { code: 'AGENT_LOST' })
  assert.equal(impatient.opens(), 2)
  impatient.lanes.close()
})
