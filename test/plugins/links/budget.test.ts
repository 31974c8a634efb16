import assert from 'node:assert/strict'
import test from 'node:test'
import type { WebSocket } from 'ws'
import { resolveSettings } from '../../../client/settings.ts'
import type { AgentRoute } from '../../../plugins/machines/index.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import * as frames from '../../../protocol/codec/frames.ts'
import { FrameType } from '../../../protocol/codec/frames.ts'
import { drop, listenTcp, startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { userOf } from '../../support/user.ts'
import { helloOf, RawClient } from './raw-client.ts'

const MIB = 1_048_576
/** The smallest budget there is: the first windows of four streams. */
const FOUR_STREAMS = { userBudgetBytes: MIB, windowBytes: MIB / 4 }
const FOUR_STREAMS_SET = [`tiers.enterprise.budgetBytes=${MIB}`, `streams.windowBytes=${MIB / 4}`]

/** Opens sealed streams of alice's to `home` until one is refused; what with, and how many there were. */
async function openAll(proxy: TestProxy, settings = {}): Promise<{ opened: number; error: unknown }> {
  const tunnel = await proxy.connect('alice', { settings })
  for (let opened = 0; opened < 6; opened++) {
    try {
      await tunnel.open({ machine: 'home', kind: 'ssh' })
    } catch (error) {
      return { opened, error }
    }
  }
  return { opened: 6, error: undefined }
}

test('the inspected streams of a user hold his budget of the proxy, and not that of others', async (t) => {
  const proxy = await startProxy(t, { set: FOUR_STREAMS_SET })
  // None is refused for anything else, nor does one end.
  proxy.app.machines.resolve = async ({ sub: owner }, name) =>
    ({ owner, name, source: 'agent' }) as AgentRoute
  proxy.app.pool.open = () => new Promise(() => {})
  proxy.app.pool.acquire = () => new Promise(() => {})
  const raw = async (user: string) => new RawClient(t, { url: proxy.url, token: proxy.tokenOf(user) }).hello()
  const [alice, bob] = [await raw('alice'), await raw('bob')]
  const head = { kind: 'tcp', machine: 'home', target: '127.0.0.1:22' }
  for (const number of [1, 3, 5, 7, 9]) alice.open(number, head)
  const { code, hop } = await alice.resetOf(9)
  assert.deepEqual([code, hop], ['TOO_MANY_STREAMS', 'proxy'])
  for (const number of [1, 3, 5, 7, 9]) bob.open(number, head)
  assert.equal((await bob.resetOf(9)).code, 'TOO_MANY_STREAMS')
  // A second link of hers is hers.
  const again = await raw('alice')
  again.open(1, { ...head, id: 'a'.repeat(32) })
  assert.equal((await again.resetOf(1)).code, 'TOO_MANY_STREAMS')
  alice.json(FrameType.RESET, 1, { code: 'ABORTED', message: 'enough' })
  again.open(3, { ...head, id: 'b'.repeat(32) })
  again.open(5, { ...head, id: 'c'.repeat(32) })
  assert.equal((await again.resetOf(5)).code, 'TOO_MANY_STREAMS')
  const refused = (client: RawClient) =>
    client.received.filter((frame) => frame[0] === FrameType.RESET).map(frames.streamNumber)
  assert.deepEqual([refused(alice), refused(bob), refused(again)], [[9], [9], [1, 5]])
})

test('the streams that the proxy opens to a machine hold a budget', async (t) => {
  const proxy = await startProxy(t, { set: FOUR_STREAMS_SET })
  await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.pipe(socket)))
  const route = await proxy.app.machines.resolve(userOf('alice'), 'home')
  const connect = () => route.dial()
  const sockets = await Promise.all([connect(), connect(), connect(), connect()])
  await assert.rejects(connect(), { code: 'TOO_MANY_STREAMS' })
  for (const socket of sockets) drop(socket)
})

test('the streams of an agent hold the budget of its settings', async (t) => {
  const proxy = await startProxy(t)
  const settings = resolveSettings({}, 'default', { streams: FOUR_STREAMS })
  await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.pipe(socket)), { settings })
  const { opened, error } = await openAll(proxy)
  assert.equal(opened, 4)
  assert.ok(error instanceof TunnelError)
  assert.deepEqual([error.code, error.hop], ['TOO_MANY_STREAMS', 'agent'])
})

test('the streams of a client hold the budget of its settings', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.pipe(socket)))
  const { opened, error } = await openAll(proxy, { streams: FOUR_STREAMS })
  assert.equal(opened, 4)
  assert.equal(error instanceof TunnelError && error.code, 'TOO_MANY_STREAMS')
})

test('a link that brings more than its user may have waiting in relays is not read until that has left', async (t) => {
  const proxy = await startProxy(t, { set: [`tiers.enterprise.budgetBytes=${MIB}`] })
  const sockets: WebSocket[] = []
  proxy.app.websocketServer.on('connection', (socket: WebSocket) => sockets.push(socket))
  const agent = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice'), route: 'agent' })
  await agent.hello(helloOf({ role: 'agent', machine: 'home', enrol: { hostKeys: [], sshUser: 'me' } }))

  // More than all buffers of the way.
  const total = 32 * MIB
  const settings = { streams: { windowBytes: total + MIB, maxWindowBytes: total + MIB } }
  const tunnel = await proxy.connect('alice', { settings })
  const opening = tunnel.open({ machine: 'home', kind: 'ssh' })
  const number = frames.streamNumber(await agent.frame((frame) => frame[0] === FrameType.OPEN))
  agent.send(frames.encodeHead(FrameType.ACCEPT, number, { window: total + MIB }))
  const stream = await opening
  t.after(() => drop(stream))
  agent.socket.pause()
  stream.write(Buffer.alloc(total))
  const client = sockets.at(-1)
  await until(() => client!.isPaused)
  agent.socket.resume()
  const isData = (frame: Buffer) => frame[0] === FrameType.DATA
  const arrived = () =>
    agent.received.filter(isData).reduce((sum, { length }) => sum + length - frames.HEADER_BYTES, 0)
  await until(() => arrived() === total)
  assert.equal(client?.isPaused, false)
})
