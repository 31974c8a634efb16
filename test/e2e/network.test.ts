import assert from 'node:assert/strict'
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'
import test, { type TestContext } from 'node:test'
import { resolveSettings } from '../../client/settings.ts'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { listenTcp, nextEvent, startProxy, until } from '../support/proxy.ts'

/** Nothing but a change of address finds a dead link with these: the first heartbeat comes in an hour. */
const heartbeat = { intervalMs: 3_600_000, timeoutMs: 7_200_000 }

/** This machine with one address, which the answer changes. */
function fakeAddress(t: TestContext): (address: string) => void {
  let present = '192.0.2.1'
  const networkInterfaces = () => ({ eth0: [{ address: present, internal: false }] }) as never
  const mocked = t.mock.method(os, 'networkInterfaces', networkInterfaces)
  syncBuiltinESMExports()
  t.after(() => {
    mocked.mock.restore()
    syncBuiltinESMExports()
  })
  return (address) => {
    present = address
  }
}

test('client and agent look at their links at once when the address has changed, and streams go on', async (t) => {
  const changeAddress = fakeAddress(t)
  const proxy = await startProxy(t, {
    set: Object.entries(heartbeat).map(([name, value]) => `heartbeat.${name}=${value}`),
  })
  const listenBefore = () => FaultRelay.listen(t, { target: { host: '127.0.0.1', port: proxy.port } })
  const [clientRelay, agentRelay] = await Promise.all([listenBefore(), listenBefore()])
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const agentSaid: string[] = []
  await proxy.startAgent('home', 'alice', echo, {
    urls: [agentRelay.url],
    settings: resolveSettings({}, 'default', { heartbeat }),
    log: (_level, message) => agentSaid.push(message),
  })
  const tunnel = await proxy.connect('alice', { url: clientRelay.url, settings: { heartbeat } })
  let clientLost = 0
  tunnel.on('link-lost', () => clientLost++)
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  const agentLost = () => agentSaid.filter((message) => message.startsWith('link lost')).length

  // The network has changed: connections of the old address are dead, and nobody says so.
  clientRelay.freeze()
  agentRelay.freeze()
  changeAddress('198.51.100.7')
  await until(() => clientLost === 1 && agentLost() === 1, 30_000)
  clientRelay.thaw()
  agentRelay.thaw()
  const answer = nextEvent(stream, 'data')
  stream.write('still here')
  assert.equal(String((await answer)[0]), 'still here')
  assert.deepEqual([clientLost, agentLost()], [1, 1])
})
