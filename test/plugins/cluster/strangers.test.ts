import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { fromWire, inFrames, type Message, toWire } from '../../../plugins/cluster/messages.ts'
import { Peer } from '../../../plugins/cluster/peer.ts'
import { machineOffline } from '../../../plugins/machines/errors.ts'
import { decodeJson, encodeJson, FrameType } from '../../../protocol/codec/frames.ts'
import type { RoutedHead } from '../../../protocol/codec/heads.ts'
import type { IncomingOpen, IncomingResume } from '../../../protocol/link/handlers.ts'
import { dialWebSocket } from '../../../protocol/node/dial-websocket.ts'
import { StreamOpener } from '../../../protocol/stream/opener.ts'
import { foreignFrames, type Outcome, outcomeOf } from '../../support/foreign-frames.ts'
import { drop, listenTcp, startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { Cleanup, type Scope } from '../../support/scope.ts'
import { requireSystem } from '../../support/system.ts'
import { watchRoutes } from '../../support/watch-routes.ts'
import { helloOf, RawClient } from '../links/raw-client.ts'
import { CLUSTER_SECRET, startReplica, startReplicas } from './replicas.ts'

const skip = requireSystem('redis-server')
const NONCE = 'a'.repeat(64)

const cleanup = new Cleanup()
let redis: RedisServer
let a: TestProxy
before(async () => {
  if (skip !== undefined) return
  redis = await startRedis(cleanup)
  const [only] = await startReplicas(cleanup, redis, ['a'])
  a = only as TestProxy
  await a.startAgent('home', 'alice', '127.0.0.1:1')
})
after(() => cleanup.close())

const relayUrl = () => `http://127.0.0.1:${a.app.cluster?.port}`
const own = () => a.app.machines.agents.own('alice', 'home')
const tells = ({ log }: TestProxy, code: string) => log.some(({ context }) => context?.code === code)

/** Whoever knows the secret, and says what it likes; resolves when it has proved itself, or is over. */
async function dial(
  scope: Scope,
  id: string,
  {
    secret = CLUSTER_SECRET,
    instance = id + id,
    message = (_: Message) => {},
    handOver = (_: IncomingOpen | IncomingResume) => {},
  } = {},
): Promise<{ peer: Peer; over: Promise<string> }> {
  const url = `${relayUrl().replace('http', 'ws')}/api/tunnel/relay`
  const transport = await dialWebSocket(url, { timeoutMs: 5_000, maxFrameBytes: 1_048_576 })
  const self = { id, instance, secret, software: 'x', maxFrameBytes: 1_048_576, resumeMs: 1_000 }
  return new Promise((resolve) => {
    let end: (code: string) => void = () => {}
    const over = new Promise<string>((ended) => {
      end = ended
    })
    const peer: Peer = new Peer(transport, 'dialler', self, {
      proved: () => resolve({ peer, over }),
      message: (_peer, heard) => message(heard),
      handOver: (_peer, incoming) => handOver(incoming),
      closed: (_peer, { code }) => {
        end(code)
        resolve({ peer, over })
      },
    })
    scope.after(() => peer.link.close())
  })
}

test('who does not know the secret, or has the id of another, is refused', { skip }, async (t) => {
  const wrong = await dial(t, 'x', { secret: 'another-secret-that-is-long-enough-too' })
  assert.equal(await wrong.over, 'FORBIDDEN')
  assert.equal(await (await dial(t, 'a')).over, 'CONFIG_INVALID')
  const first = await dial(t, 'twin', { instance: 'one' })
  assert.equal(await (await dial(t, 'twin', { instance: 'two' })).over, 'CONFIG_INVALID')
  assert.equal(first.peer.link.closed, false)
})

test('replicas with two secrets, or with one id, say what is wrong and go on alone', { skip }, async (t) => {
  const b = await startReplica(t, redis, { id: 'b', secret: CLUSTER_SECRET.toUpperCase() })
  await until(() => tells(a, 'FORBIDDEN') && tells(b, 'FORBIDDEN'))
  const twins = [relayUrl()]
  const twin = await startReplica(t, redis, { id: 'a', peers: twins, sharing: a })
  await until(() => tells(twin, 'CONFIG_INVALID') && tells(a, 'CONFIG_INVALID'))
  assert.deepEqual([a.app.cluster?.size, b.app.cluster?.size, twin.app.cluster?.size], [1, 1, 1])
  await (await twin.connect('alice')).disconnect()
})

test('strangers who only wait keep no replica out, and a refused upgrade leaves no connection', {
  skip,
}, async (t) => {
  const strangers = Array.from({ length: 40 }, () => new RawClient(t, { url: relayUrl(), route: 'relay' }))
  await Promise.all(strangers.map((stranger) => stranger.opened()))
  const { peer } = await dial(t, 'late')
  assert.deepEqual([peer.isProved, peer.link.closed], [true, false])

  const socket = connect({ port: a.app.cluster?.port ?? 0, host: '127.0.0.1', allowHalfOpen: true })
  t.after(() => socket.destroy())
  socket.on('error', () => {}).resume()
  socket.write('GET /elsewhere HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  await once(socket, 'end')
  // It goes on sending, and hears that nobody is there.
  await until(() => {
    socket.write('more')
    return socket.destroyed
  })
})

test('another version of the protocol is refused by name, and what a newer one says besides is passed over', {
  skip,
}, async (t) => {
  const relay = { role: 'relay', replica: { id: 'old', nonce: NONCE } } as const
  for (const version of [0, 2]) {
    const raw = new RawClient(t, { url: relayUrl(), route: 'relay' })
    await raw.opened()
    raw.json(FrameType.HELLO, 0, { ...helloOf(), ...relay, version })
    const { code, reason } = await raw.closed
    assert.equal(code, 4406)
    assert.match(reason, /VERSION_UNSUPPORTED/)
  }
  const { peer } = await dial(t, 'newer')
  peer.link.sendMesh({ is: 'weather', sunny: true })
  // As a version that says neither to whom it has links nor where.
  peer.link.sendMesh({ is: 'state', load: 0, mood: 'well' })
  peer.link.sendMesh({ is: 'present', agents: [['bob', 'newer', 'instance', 1, 'more']], colour: 'red' })
  await until(() => a.app.machines.agents.elsewhere === 1)
  assert.equal(peer.link.closed, false)
})

test('before its proof a peer hands over nothing, and then only what is whose and cannot go in circles', {
  skip,
}, async (t) => {
  const raw = new RawClient(t, { url: relayUrl(), route: 'relay' })
  await raw.hello({ role: 'relay', replica: { id: 'early', nonce: NONCE } })
  raw.open(1, { kind: 'ssh', machine: 'home', subject: 'alice' })
  assert.equal((await raw.resetOf(1)).code, 'FORBIDDEN')
  raw.socket.terminate()

  const { peer } = await dial(t, 'forger')
  const opener = new StreamOpener({ settings: a.settings.streams })
  opener.attach(peer.link)
  t.after(() => opener.close(new Error('the test is over') as never))
  const refusal = (head: Omit<RoutedHead, 'id' | 'window'>) =>
    new Promise<string | undefined>((resolve) => {
      opener.open(head).handle({ data() {}, closed: (error) => resolve(error?.code) })
    })
  const home = { kind: 'ssh', machine: 'home', subject: 'alice' } as const
  const { subject: _, ...nobodys } = home
  for (const forged of [
    nobodys,
    { ...home, subject: 'alice bob' },
    { ...home, kind: 'exec', exec: { command: 'id' } } as const,
    { ...home, through: 'forger' },
    { ...home, through: 'a' },
    { ...home, through: 'b c' },
    { ...home, through: '' },
  ]) {
    assert.equal(await refusal(forged), 'FRAME_INVALID', JSON.stringify(forged))
  }
  assert.equal(peer.link.closed, false)
})

test('replicas have one route more where it has no port of its own, and no token opens anything there', {
  skip,
}, async (t) => {
  const [usual, clustered] = [new Set<string>(), new Set<string>()]
  await startProxy(t, { plugins: [watchRoutes(usual)] })
  const plugins = [watchRoutes(clustered)]
  const shared = await startReplica(t, redis, {
    id: 'shared',
    isShared: true,
    peers: [relayUrl()],
    sharing: a,
    plugins,
  })
  assert.deepEqual(
    [...clustered].filter((route) => !usual.has(route)),
    ['GET /relay'],
  )

  const roles = [[], ['agent'], ['admin']]
  for (const token of [undefined, ...roles.map((each) => shared.tokenOf('alice', { roles: each }))]) {
    const answer = await shared.api(undefined, 'relay', token === undefined ? {} : { token })
    assert.equal(((await answer.json()) as { code: string }).code, 'VERSION_UNSUPPORTED')
  }
})

/** What each comes to of a peer that has proved nothing. */
const UNPROVED: Record<keyof typeof FrameType, Outcome> = {
  ...{ HELLO: 'closed', PING: 'answered', PONG: 'ignored', AUTH: 'ignored', MESH: 'closed' },
  ...{ GOAWAY: 'ignored', OPEN: 'refused', ACCEPT: 'closed', DATA: 'closed', AUX: 'closed', EVENT: 'closed' },
  ...{ END: 'closed', WINDOW: 'closed', RESET: 'closed', SUSPEND: 'closed', RESUME: 'refused' },
  ...{ RESUMED: 'closed' },
}

test('no frame of a peer that has proved nothing reaches a stream, whatever token it shows', {
  skip,
}, async (t) => {
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await a.startAgent('desk', 'alice', echo)
  const stream = await (await a.connect('alice')).open({ machine: 'desk', kind: 'ssh' })
  const whose = { machine: 'desk', subject: 'alice', owner: 'alice' }
  const token = a.tokenOf('alice', { roles: ['admin'] })
  const foreign = foreignFrames({ id: stream.stream.id, kind: 'ssh', ...whose }, token)
  for (const [type, outcome] of Object.entries(UNPROVED)) {
    const raw = new RawClient(t, { url: relayUrl(), route: 'relay', token })
    await raw.hello({ role: 'relay', replica: { id: 'unproved', nonce: NONCE } })
    assert.equal(await outcomeOf(raw, foreign[type as keyof typeof FrameType]), outcome, type)
    raw.socket.terminate()
    stream.write(type)
    assert.equal(String((await once(stream, 'data'))[0]), type)
  }
  drop(stream)
})

test('who lies of epochs or of other replicas has no machine by it that is here', { skip }, async (t) => {
  const liar = await dial(t, 'liar')
  const claim = (owner: string, name: string, epoch: number, at?: string) =>
    liar.peer.tell({
      is: 'present',
      agents: [{ owner, name, program: { instance: 'zzzz', epoch } }],
      ...(at !== undefined && { at }),
    })
  // One that was started earlier than the one that is here; agents of another replica, of which nobody has asked.
  claim('alice', 'home', 1)
  claim('bob', 'there', 1, 'b')
  claim('bob', 'other', 1)
  await until(() => a.app.machines.agents.elsewhere === 1)
  assert.ok(own())
  const bob = await a.connect('bob')
  // Nobody has enrolled it, so that there is nothing to be reached.
  await assert.rejects(bob.open({ machine: 'other', kind: 'ssh' }), { code: 'MACHINE_UNKNOWN' })
  // Of a day that is to come: it is left out, and what is told behind it is heard.
  claim('alice', 'home', Date.now() + 7 * 86_400_000)
  claim('bob', 'third', 1)
  await until(() => a.app.machines.agents.elsewhere === 2)
  assert.equal(own()?.closed, false)
  assert.equal(liar.peer.link.closed, false)
})

test('nothing that an agent says of itself ends a link between replicas', { skip }, async (t) => {
  const heard: Message[] = []
  const watcher = await dial(t, 'watcher', { message: (message) => heard.push(message) })
  const epochOf = (name: string) =>
    heard
      .flatMap((message) => (message.is === 'present' ? message.agents : []))
      .find((agent) => agent.name === name)?.program.epoch
  const agent = async (machine: string, epoch: number) => {
    const raw = new RawClient(t, { url: a.url, route: 'agent', token: a.tokenOf('mallory') })
    const enrol = { hostKeys: [], sshUser: 'm' }
    await raw.hello({ role: 'agent', machine, instance: '\u0001'.repeat(255), epoch, enrol })
  }
  await agent('far', Number.MAX_SAFE_INTEGER)
  const soon = Date.now() + 3_600_000
  await agent('near', soon)
  await until(() => epochOf('near') !== undefined)
  assert.deepEqual([epochOf('far'), epochOf('near')], [0, soon])
  assert.equal(watcher.peer.link.closed, false)

  const program = { instance: '\u0001'.repeat(255), epoch: soon }
  const agents = Array.from({ length: 200 }, (_, index) => ({
    owner: 'm'.repeat(128),
    name: `m${index}`,
    program,
  }))
  const read = [...inFrames(agents)].flatMap((some) => {
    const frame = encodeJson(FrameType.MESH, 0, toWire({ is: 'present', agents: some }))
    const message = fromWire(decodeJson(frame))
    return message?.is === 'present' ? message.agents : []
  })
  assert.deepEqual(read, agents)
})

test('a replica whose clock is ten minutes ahead is believed, and an agent of such a machine has its name', {
  skip,
}, async (t) => {
  const ahead = await dial(t, 'ahead')
  const epoch = Date.now() + 600_000
  ahead.peer.tell({
    is: 'present',
    agents: [{ owner: 'carol', name: 'early', program: { instance: 'i', epoch } }],
  })
  await until(() => a.app.machines.agents.elsewhere === 1)
  ahead.peer.tell({ is: 'gone', owner: 'carol', name: 'early' })
  await until(() => a.app.machines.agents.elsewhere === 0)
  assert.equal(ahead.peer.link.closed, false)
})

test("a replica that claims somebody's machine with a later epoch has its streams while it is there, and only then", {
  skip,
}, async (t) => {
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const start = () => a.startAgent('work', 'erin', '127.0.0.1:1', { allow: [echo] })
  const agent = await start()
  const client = await a.connect('erin')
  const open = () => client.open({ machine: 'work', kind: 'ssh', target: echo })
  drop(await open())
  const taken: object[] = []
  const thief = await dial(t, 'thief', {
    handOver({ head }) {
      taken.push(head)
      throw machineOffline('work')
    },
  })
  const epoch = Date.now() + 60_000
  const claimed = [{ owner: 'erin', name: 'work', program: { instance: 'zzzz', epoch } }]
  thief.peer.tell({ is: 'present', agents: claimed })
  assert.equal((await agent.done)?.code, 'TAKEN_OVER')
  await assert.rejects(open(), { code: 'MACHINE_OFFLINE' })
  // Whose it is, and for whom: no token, and nothing else that could be used again.
  assert.deepEqual(
    Object.keys(taken[0] ?? {}).sort(),
    'attempt id kind machine priority subject target tier window'.split(' '),
  )
  // The machine's own agent does not get in before it, and has its name as soon as it is gone.
  await assert.rejects(start(), { code: 'TAKEN_OVER' })
  thief.peer.link.close()
  await thief.over
  await start()
  const stream = await open()
  stream.write('mine')
  assert.equal(String((await once(stream, 'data'))[0]), 'mine')
  drop(stream)
})

test('where replicas have a port of their own, nobody is answered on the public one', { skip }, async (t) => {
  const raw = new RawClient(t, { url: a.url, route: 'relay', token: a.tokenOf('alice') })
  const [, { statusCode }] = (await once(raw.socket, 'unexpected-response')) as [
    unknown,
    { statusCode: number },
  ]
  assert.equal(statusCode, 404)
})
