import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import test, { type TestContext } from 'node:test'
import ssh2 from 'ssh2'
import { MachineKeys } from '../../agent/enrolment.ts'
import { SourceAddresses } from '../../agent/source-address.ts'
import { parseTarget } from '../../protocol/codec/target.ts'
import { drop, listenTcp, startProxy } from '../support/proxy.ts'

/** An SSH server that hangs up until `isThere`. */
async function lateSshServer(t: TestContext) {
  const ssh = new ssh2.Server(
    { hostKeys: [ssh2.utils.generateKeyPairSync('ed25519').private] },
    (connection) => void connection.on('error', () => {}),
  )
  const server: Server & { isThere?: boolean } = createServer((socket) => {
    socket.on('error', () => {})
    if (server.isThere === true) ssh.injectSocket(socket)
    else socket.destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return server
}

test('an SSH server that was long away is asked for its key soon after somebody has heard it, and not at the end of a long wait', async (t) => {
  const server = await lateSshServer(t)
  const ssh = parseTarget(`127.0.0.1:${(server.address() as AddressInfo).port}`)!
  let changes = 0
  let scanned = (): void => {}
  const sources = new SourceAddresses(false)
  const changed = (): void => {
    changes++
    scanned()
  }
  const keys = new MachineKeys({ ssh, sshUser: 'alice', sources, log: () => {}, changed })
  t.after(() => keys.close())
  t.mock.timers.enable({ apis: ['setTimeout'] })
  // What comes of a scan that a timer began is known when the next timer is set.
  const scan = t.mock.method(keys, 'scan')
  const nextScan = async (ms: number): Promise<void> => {
    const before = scan.mock.callCount()
    t.mock.timers.tick(ms)
    assert.equal(scan.mock.callCount(), before + 1)
    await scan.mock.calls.at(-1)?.result
  }
  await keys.scan()
  for (const ms of [5_000, 10_000, 20_000]) await nextScan(ms)
  server.isThere = true
  assert.equal(keys.hasHostKey, false)
  // The next would be after 40 s. However often it is heard, it is asked once in 5 s.
  for (let count = 0; count < 3; count++) keys.spoken()
  const waits = new Promise<void>((resolve) => {
    scanned = resolve
  })
  await nextScan(5_000)
  await waits
  assert.deepEqual([keys.hasHostKey, changes], [true, 1])
  keys.spoken()
  t.mock.timers.tick(60_000)
  assert.equal(scan.mock.callCount(), 5)
})

test('an agent notices that the SSH server has spoken, and that one was silent', async (t) => {
  const spoken = t.mock.method(MachineKeys.prototype, 'spoken')
  const proxy = await startProxy(t)
  const listen = async (greet: (socket: Socket) => void): Promise<string> => {
    let count = 0
    // The agent's own question is not answered.
    return await listenTcp(t, (socket) => void (count++ === 0 ? socket.destroy() : greet(socket)))
  }
  const speaking = await listen((socket) => void socket.write('SSH-2.0-late\r\n'))
  const silent = await listen(() => {})
  await proxy.startAgent('home', 'alice', speaking)
  await proxy.startAgent('quiet', 'alice', silent)
  const tunnel = await proxy.connect('alice')
  for (const [machine, count] of [
    ['quiet', 0],
    ['home', 1],
  ] as const) {
    const stream = await tunnel.open({ machine, kind: 'ssh' })
    t.after(() => drop(stream))
    assert.equal(spoken.mock.callCount(), count)
  }
})
