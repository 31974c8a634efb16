import assert from 'node:assert/strict'
import test from 'node:test'
import type { Route } from '../../../plugins/machines/index.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { decodeJson, FrameType } from '../../../protocol/codec/frames.ts'
import { collectGarbage } from '../../support/garbage.ts'
import { drop, listenTcp, readAll, startProxy, until } from '../../support/proxy.ts'
import { helloOf, RawClient } from './raw-client.ts'

test('a wrong, an expired and a missing token are told apart, at every door', async (t) => {
  const proxy = await startProxy(t)
  const expired = proxy.tokenOf('alice', { ttlSeconds: -60 })
  const stranger = await startProxy(t)
  for (const [token, code] of [
    ['a.b.c', 'TOKEN_INVALID'],
    [stranger.tokenOf('alice'), 'TOKEN_INVALID'],
    [expired, 'TOKEN_EXPIRED'],
  ] as const) {
    await assert.rejects(proxy.client('alice', { token }).connect(), { code, category: 'authentication' })
    await assert.rejects(proxy.client('alice', { token }).machines(), { code })
    await assert.rejects(proxy.agent('home', 'alice', { token }).start(), { code })
  }
  for (const route of ['machines', 'machines/home', 'ssh/key', 'connect', 'agent']) {
    const answer = await proxy.api(undefined, route)
    assert.equal(answer.status, 401, route)
    assert.equal(answer.headers.get('content-type'), 'application/problem+json; charset=utf-8')
    const problem = (await answer.json()) as Record<string, unknown>
    assert.deepEqual(
      [problem.code, problem.category, problem.status],
      ['TOKEN_MISSING', 'authentication', 401],
    )
    assert.equal(problem.correlationId, answer.headers.get('x-correlation-id'))
  }
  assert.equal(proxy.app.links.count, 0)
})

test("another user's token in AUTH closes the link with 4401, and nothing of the link becomes that user's", async (t) => {
  const proxy = await startProxy(t)
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  raw.json(FrameType.AUTH, 0, { token: proxy.tokenOf('bob') })
  const { code, reason } = await raw.closed
  assert.equal(code, 4401)
  assert.match(reason, /^TOKEN_INVALID: /)
})

test('a link ends with its token, though it says nothing, unless AUTH has brought a fresh one', async (t) => {
  const proxy = await startProxy(t, { set: ['auth.clockToleranceMs=0'] })
  const { token, expiresAtMs } = proxy.briefTokenOf('alice')
  const links = await Promise.all(
    (['connect', 'agent'] as const).map(async (route) => {
      const hello =
        route === 'connect'
          ? {}
          : { role: 'agent' as const, machine: 'home', enrol: { hostKeys: [], sshUser: 'me' } }
      return new RawClient(t, { url: proxy.url, token, route }).hello(hello)
    }),
  )
  const silent = new RawClient(t, { url: proxy.url, token })
  const fresh = await new RawClient(t, { url: proxy.url, token }).hello()
  fresh.json(FrameType.AUTH, 0, { token: proxy.tokenOf('alice') })
  for (const link of [...links, silent]) {
    const { code, reason } = await link.closed
    assert.equal(code, 4401)
    assert.match(reason, /^TOKEN_EXPIRED: /)
  }
  assert.ok(Date.now() >= expiresAtMs)
  assert.equal(proxy.app.links.count, 1)
})

test('a token that is over at an OPEN opens nothing, until a fresh one comes', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.end('hello')))
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  const check = proxy.app.auth.check
  // By the wall clock, which may be set: the link has not noticed yet.
  proxy.app.auth.check = (user) => check({ ...user, expiresAtMs: 0 })
  for (const [stream, head] of [
    [1, { kind: 'ssh' }],
    [3, { kind: 'tcp', target: '127.0.0.1:22' }],
    [5, { kind: 'exec', exec: { command: 'true' } }],
  ] as const) {
    raw.open(stream, { machine: 'home', ...head })
    assert.equal((await raw.resetOf(stream)).code, 'TOKEN_EXPIRED')
  }
  const id = '0'.repeat(32)
  raw.json(FrameType.RESUME, 7, { id, kind: 'ssh', machine: 'home', received: 0, limit: 1, attempt: 1 })
  assert.equal((await raw.resetOf(7)).code, 'TOKEN_EXPIRED')
  proxy.app.auth.check = check
  raw.json(FrameType.AUTH, 0, { token: proxy.tokenOf('alice') })
  raw.open(9, { kind: 'ssh', machine: 'home' })
  await raw.frame((frame) => (frame[0]! & 0x3f) === FrameType.ACCEPT)
})

test("an agent's token puts its machine on line, and opens, changes and resumes nothing", async (t) => {
  const proxy = await startProxy(t)
  const token = proxy.tokenOf('alice', { roles: ['agent'] })
  const agent = await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.end()), {
    token,
  })
  const tunnel = await proxy.connect('alice', { token })
  for (const attempt of [
    tunnel.open({ machine: 'home', kind: 'ssh' }),
    tunnel.open({ machine: 'home', kind: 'tcp', target: '127.0.0.1:22' }),
    tunnel.exec('home', 'true'),
    tunnel.forwardRequest({ machine: 'home' }),
  ]) {
    await assert.rejects(attempt, { code: 'POLICY_DENIED' })
  }
  for (const [method, route] of [
    ['POST', 'machines/home/trust'],
    ['DELETE', 'machines/home'],
  ] as const) {
    const answer = await proxy.api(undefined, route, { method, token })
    assert.equal(answer.status, 403, route)
    assert.equal(((await answer.json()) as { code: string }).code, 'FORBIDDEN')
  }
  // What it needs for --authorize.
  assert.equal((await proxy.api(undefined, 'ssh/key', { token })).status, 200)
  await agent.close()
})

test("an agent's link opens nothing, whoever's token it has", async (t) => {
  const proxy = await startProxy(t)
  const raw = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice'), route: 'agent' })
  await raw.hello(helloOf({ role: 'agent', machine: 'home', enrol: { hostKeys: [], sshUser: 'me' } }))
  raw.open(1, { kind: 'ssh', machine: 'home' })
  assert.equal((await raw.resetOf(1)).code, 'FORBIDDEN')
  const id = '0'.repeat(32)
  raw.json(FrameType.RESUME, 3, { id, kind: 'ssh', machine: 'home', received: 0, limit: 1, attempt: 1 })
  assert.equal((await raw.resetOf(3)).code, 'FORBIDDEN')
})

test('a machine that is unknown, off line, or listens on nothing there has its own error each', async (t) => {
  const proxy = await startProxy(t)
  const tunnel = await proxy.connect('alice')
  const open = (machine: string, target?: string) =>
    tunnel.open({ machine, kind: 'ssh', ...(target !== undefined && { target }) })
  await assert.rejects(open('home'), { code: 'MACHINE_UNKNOWN', category: 'configuration' })
  const agent = await proxy.startAgent('home', 'alice', '127.0.0.1:1', { allow: ['no-such-host.invalid:22'] })
  await assert.rejects(open('home'), { code: 'CONNECT_REFUSED', hop: 'agent' })
  await assert.rejects(open('home', 'no-such-host.invalid:22'), { code: 'DNS_FAILED', hop: 'agent' })
  await assert.rejects(open('home', '127.0.0.1:2'), { code: 'POLICY_DENIED', hop: 'agent' })
  await agent.close()
  await until(() => proxy.app.machines.find('alice', 'home')?.online === false)
  // One that was there a moment ago gets a few seconds to be back.
  await assert.rejects(open('home'), { code: 'MACHINE_OFFLINE', category: 'network' })
})

test('more links than a user may have are refused with 429, and another user is not held up', async (t) => {
  const proxy = await startProxy(t, { set: ['tiers.enterprise.links=2'] })
  const [first] = [await proxy.connect('alice'), await proxy.connect('alice')]
  await assert.rejects(proxy.client('alice').connect(), (error: { code: string; retryAfterMs: number }) => {
    assert.equal(error.code, 'TOO_MANY_CONNECTIONS')
    assert.ok(error.retryAfterMs > 0)
    return true
  })
  await proxy.connect('bob')
  await proxy.startAgent('home', 'alice')
  await first.disconnect(0)
  await until(() => proxy.app.links.count === 3)
  await proxy.connect('alice')
})

test('links that are only half gone give their places to their user, who has no more of them', async (t) => {
  const proxy = await startProxy(t, { set: ['tiers.enterprise.links=2'] })
  // They say nothing more, as behind a network that swallows everything.
  const ghosts = [1, 2].map(() => new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }))
  await Promise.all(ghosts.map((ghost) => ghost.hello()))
  await assert.rejects(proxy.client('alice').connect(), { code: 'TOO_MANY_CONNECTIONS' })
  const closed = await Promise.all(ghosts.map((ghost) => ghost.closed))
  assert.deepEqual(
    closed.map(({ code }) => code),
    [4408, 4408],
  )
  await proxy.connect('alice')
})

test('links that arrive at once and are too many are closed with 4429', async (t) => {
  const proxy = await startProxy(t, { set: ['tiers.enterprise.links=2'] })
  const token = proxy.tokenOf('alice')
  const clients = Array.from({ length: 8 }, () => new RawClient(t, { url: proxy.url, token }))
  const ends = clients.map(({ closed }) => closed)
  const codes: number[] = []
  for (const end of ends) void end.then(({ code }) => codes.push(code))
  await until(() => codes.length === 6)
  assert.equal(proxy.app.links.count, 2)
  // Before the upgrade (429, which a raw client knows as 1006) or just after it.
  assert.ok(codes.every((code) => code === 4429 || code === 1006))
})

test('a second agent of the same name takes over; the older is told TAKEN_OVER and stays away', async (t) => {
  const proxy = await startProxy(t)
  const older = await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.end('older')))
  await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.end('newer')))
  assert.equal((await older.done)?.code, 'TAKEN_OVER')
  const tunnel = await proxy.connect('alice')
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  assert.equal(String(await readAll(stream)), 'newer')
  drop(stream)
  assert.equal(proxy.app.links.count, 2)
})

test('the close code of an agent that was taken over is 4409, and an agent that dials again is itself', async (t) => {
  const proxy = await startProxy(t)
  const connect = (instance: string) => {
    const raw = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice'), route: 'agent' })
    const enrol = { hostKeys: [], sshUser: 'me' }
    return raw.hello(helloOf({ role: 'agent', machine: 'home', instance, enrol }))
  }
  const first = await connect('one')
  const again = await connect('one')
  const other = await connect('two')
  const { code, reason } = await again.closed
  assert.equal(code, 4409)
  assert.match(reason, /^TAKEN_OVER: /)
  assert.equal(other.socket.readyState, other.socket.OPEN)
  first.socket.terminate()
  await until(() => proxy.app.links.count === 1)
  assert.equal(proxy.app.machines.find('alice', 'home')?.online, true)
})

test('an agent that was lost and is back is itself again, with its streams', async (t) => {
  const proxy = await startProxy(t)
  const agent = await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.pipe(socket)))
  let isOver = false
  void agent.done.then(() => {
    isOver = true
  })
  const tunnel = await proxy.connect('alice')
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  for (let i = 0; i < 5; i++) {
    proxy.cut('agent')
    stream.write(`${i}`)
  }
  stream.end()
  assert.equal(String(await readAll(stream)), '01234')
  assert.equal(isOver, false)
})

test('deleting a machine ends its agent, and the machine is unknown', async (t) => {
  const proxy = await startProxy(t)
  const agent = await proxy.startAgent('home', 'alice')
  assert.equal((await proxy.api('alice', 'machines/home', { method: 'DELETE' })).status, 204)
  assert.equal((await agent.done)?.code, 'TAKEN_OVER')
  assert.equal((await proxy.api('alice', 'machines/home')).status, 404)
  assert.equal((await proxy.api('alice', 'machines/home', { method: 'DELETE' })).status, 404)
})

test('an OPEN that is sent again is authorised as a resume is', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', await listenTcp(t, () => {}))
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  const head = { id: 'a'.repeat(32), kind: 'ssh', machine: 'home' }
  raw.open(1, head)
  await until(() => proxy.app.forward.overview.held().passages === 1)
  const check = proxy.app.auth.check
  proxy.app.auth.check = (user) => check({ ...user, expiresAtMs: 0 })
  raw.open(3, { ...head, attempt: 1 })
  assert.equal((await raw.resetOf(3)).code, 'TOKEN_EXPIRED')
})

test('a rule on targets holds however the target is written', async (t) => {
  const rules = JSON.stringify([{ effect: 'deny', targets: ['127.0.0.1:5432', '[::1]:5432'] }])
  const proxy = await startProxy(t, { set: [`policy.rules=${rules}`] })
  await proxy.startAgent('home', 'alice', await listenTcp(t, () => {}))
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  const spellings = ['127.0.0.1:5432', '127.1:5432', '0x7f000001:5432', '2130706433:5432', '[0:0::1]:5432']
  for (const [index, target] of [...spellings, '127.0.0.1:05432', '127.0.0.1:+5432'].entries()) {
    raw.open(2 * index + 1, { kind: 'tcp', machine: 'home', target })
    const { code } = await raw.resetOf(2 * index + 1)
    assert.equal(code, index < spellings.length ? 'POLICY_DENIED' : 'FRAME_INVALID', target)
  }
})

test('agents of one user have so many links and no more, those that say nothing among them', async (t) => {
  const proxy = await startProxy(t, { set: ['tiers.enterprise.agentLinks=3'] })
  const dial = () => new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice'), route: 'agent' })
  const links = await Promise.all([dial(), dial(), dial()].map((link) => link.opened()))
  const told: string[] = []
  const log = (_level: string, ...line: unknown[]) => void told.push(JSON.stringify(line))
  const started = proxy.agent('home', 'alice', { log }).start()
  await until(() => told.some((line) => line.includes('TOO_MANY_CONNECTIONS')))
  await proxy.agent('home', 'bob').start()
  links[0]!.socket.terminate()
  // It has dialled on, and there is room.
  await started
})

test('a peer that asks for what must be refused, without end, is closed with 4429', async (t) => {
  const proxy = await startProxy(t)
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  for (let number = 1; number < 6_000; number += 2) raw.open(number, { kind: 'ssh', machine: 'nowhere' })
  assert.equal((await raw.closed).code, 4429)
  // The burst was answered, each OPEN with its own RESET. What is too many at once is not counted.
  const resets = raw.received.filter((frame) => frame[0] === FrameType.RESET)
  const judged = resets.filter((frame) => decodeJson(frame).code === 'MACHINE_UNKNOWN')
  assert.ok(judged.length >= 1_000 && judged.length < 2_000, `${judged.length} of ${resets.length}`)
})

test('of a link that has closed nothing is kept, though what it asked for is refused only after', async (t) => {
  const proxy = await startProxy(t)
  const links: WeakRef<object>[] = []
  proxy.app.websocketServer.on('connection', (socket) => links.push(new WeakRef(socket)))
  const judged: (() => void)[] = []
  proxy.app.machines.resolve = async ({ sub: owner }, name) => ({ owner, name }) as Route
  proxy.app.policy.check = async () => {
    await new Promise<void>((resolve) => judged.push(resolve))
    throw new TunnelError('POLICY_DENIED', 'not you', { hop: 'proxy' })
  }
  for (let count = 0; count < 5; count++) {
    const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
    raw.open(1, { kind: 'ssh', machine: 'home' })
    raw.open(3, { kind: 'tcp', machine: 'home', target: '127.0.0.1:22' })
    await until(() => judged.length === 2)
    raw.socket.terminate()
    await until(() => proxy.app.links.count === 0)
    for (const refuse of judged.splice(0)) refuse()
  }
  await until(() => {
    collectGarbage()
    return links.length === 5 && links.every((socket) => socket.deref() === undefined)
  })
})

test('what goes wrong inside is not told to a peer', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  proxy.app.policy.check = async () => {
    throw new Error('postgres://policy:hunter2@10.0.0.5')
  }
  const told: string[] = []
  const log = (_level: string, ...line: unknown[]) => void told.push(JSON.stringify(line))
  // It dials on: what is wrong at the proxy may be mended.
  proxy
    .agent('home', 'alice', { log })
    .start()
    .catch(() => {})
  await until(() => told.some((line) => line.includes('INTERNAL')))
  assert.doesNotMatch(told.join(), /hunter2/)
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  for (const [number, head] of [
    [1, { kind: 'ssh' }],
    [3, { kind: 'tcp', target: '127.0.0.1:22' }],
  ] as const) {
    raw.open(number, { machine: 'home', ...head })
    const reset = await raw.resetOf(number)
    assert.equal(reset.code, 'INTERNAL')
    assert.doesNotMatch(JSON.stringify(reset), /hunter2/)
  }
  assert.ok(proxy.log.some((line) => line.level === 'ERROR' && JSON.stringify(line).includes('hunter2')))
})

test('a stream that resumes at a proxy that knows nothing of its machine is kept, and asked for again', async (t) => {
  const proxy = await startProxy(t)
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  const head = { id: 'b'.repeat(32), kind: 'ssh', machine: 'moved', received: 0, limit: 65_536, attempt: 1 }
  raw.json(FrameType.RESUME, 1, head)
  const answer = await raw.frame((frame) => frame[0] === FrameType.SUSPEND || frame[0] === FrameType.RESET)
  assert.equal(answer[0], FrameType.SUSPEND)
})
