import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withTunnel } from '../../cli/connect.ts'
import { listenTcp } from '../support/proxy.ts'

test('whoever gives up before the dial has begun does not wait for a proxy that is silent', async (t) => {
  const silent = await listenTcp(t, (socket) => socket.resume())
  const access = { url: `http://${silent}`, token: 'a.b.c' }
  const use = (): Promise<never> => assert.fail('there is no proxy')
  await assert.rejects(withTunnel(access, use, { signal: AbortSignal.abort() }), { code: 'ABORTED' })
})
