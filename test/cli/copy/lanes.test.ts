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
