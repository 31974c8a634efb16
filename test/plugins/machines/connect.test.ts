import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import test from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { dialTcp } from '../../../plugins/machines/dial-tcp.ts'
import * as frames from '../../../protocol/codec/frames.ts'
import { FrameType } from '../../../protocol/codec/frames.ts'
import { listenTcp, readAll, startProxy, until } from '../../support/proxy.ts'
import { helloOf, RawClient } from '../links/raw-client.ts'

test('an agent that ends a stream in the same breath as it takes it fails that request and nothing else', async (t) => {
  const proxy = await startProxy(t)
  const agent = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice'), route: 'agent' })
  const hostKeys = [
    `ssh-ed25519 ${Buffer.from('\0\0\0\x0bssh-ed25519\0\0\0 '.padEnd(51, 'k')).toString('base64')}`,
  ]
  await agent.hello(helloOf({ role: 'agent', machine: 'home', enrol: { hostKeys, sshUser: 'me' } }))
  const { _socket: socket } = agent.socket as unknown as { _socket: Socket }
  agent.socket.on('message', (frame: Buffer) => {
    if ((frame[0]! & frames.TYPE_MASK) !== FrameType.OPEN) return
    const number = frames.streamNumber(frame)
    socket.cork()
    agent.send(frames.encodeHead(FrameType.ACCEPT, number, { window: 262_144 }))
    agent.json(FrameType.RESET, number, { code: 'CONNECT_REFUSED', message: 'after all' })
    socket.uncork()
  })
  const tunnel = await proxy.connect('alice')
  await assert.rejects(tunnel.exec('home', 'true'), { code: 'CONNECT_REFUSED', message: 'after all' })
  await assert.rejects(tunnel.open({ machine: 'home', kind: 'ssh' }), { code: 'CONNECT_REFUSED' })
  assert.equal((await proxy.api('alice', 'machines')).status, 200)
})

test('a configured host that hangs up while hooks are asked ends that stream and nothing else', async (t) => {
  let far: Socket | undefined
  const address = await listenTcp(t, (socket) => {
    far = socket
  })
  const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBL0gCvVwXyV8CkN3CHd1Jm3k8yYwqIwQ0gI0R0aXJkQ'
  const port = Number(address.split(':')[1])
  const machine = { host: '127.0.0.1', port, user: 'me', hostKey, owners: ['alice'] }
  const proxy = await startProxy(t, { set: [`machines=${JSON.stringify({ far: machine })}`] })
  proxy.app.tunnel.addHook('onOpen', async () => {
    await until(() => far !== undefined)
    far?.resetAndDestroy()
    for (let turn = 0; turn < 10; turn++) await setImmediate()
  })
  const tunnel = await proxy.connect('alice')
  const all = async () => readAll(await tunnel.open({ machine: 'far', kind: 'ssh' }))
  await assert.rejects(all, { code: 'CONNECT_REFUSED' })
  assert.equal((await proxy.api('alice', 'machines')).status, 200)
})

test('whoever uses a configured host is not told where it is, whatever is wrong with it', async (t) => {
  const used = await listenTcp(t, () => {})
  const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBL0gCvVwXyV8CkN3CHd1Jm3k8yYwqIwQ0gI0R0aXJkQ'
  const closed = { host: '127.0.0.2', port: Number(used.split(':')[1]) }
  const nowhere = { host: 'no-such-host.invalid', port: 2_222 }
  const metadata = { host: '169.254.169.254', port: 80 }
  const machines = Object.fromEntries(
    Object.entries({ closed, nowhere }).map(([name, place]) => [
      name,
      { ...place, user: 'me', hostKey, owners: ['alice'] },
    ]),
  )
  const proxy = await startProxy(t, { set: [`machines=${JSON.stringify(machines)}`] })
  const tunnel = await proxy.connect('alice')
  const told: string[] = []
  const failing = async (work: Promise<unknown>, code: string) =>
    assert.rejects(work, (error: Error & { code: string }) => {
      told.push(error.message)
      assert.equal(error.code, code, error.message)
      return true
    })
  for (const [name, code] of [
    ['closed', 'CONNECT_REFUSED'],
    ['nowhere', 'DNS_FAILED'],
  ] as const) {
    await failing(tunnel.open({ machine: name, kind: 'ssh' }), code)
    await failing(tunnel.exec(name, 'true'), code)
  }
  await failing(dialTcp('cloud', metadata), 'POLICY_DENIED')
  for (const route of ['machines', 'diagnostics', 'sessions'])
    told.push(await (await proxy.api('alice', route)).text())
  for (const { host, port } of [closed, nowhere, metadata])
    for (const text of told) assert.ok(!text.includes(host) && !text.includes(`:${port}`), text)
  assert.match(told[0] ?? '', /the host of closed could not be reached \(ECONNREFUSED\)/)
})
