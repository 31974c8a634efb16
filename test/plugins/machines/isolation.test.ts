import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { Value } from 'typebox/value'
import { TunnelError, type TunnelService } from '../../../client/index.ts'
import { verifyTrail } from '../../../plugins/audit/verify.ts'
import { Agents } from '../../../plugins/machines/agents.ts'
import { FrameType, TYPE_MASK } from '../../../protocol/codec/frames.ts'
import type { StreamDuplex } from '../../../protocol/node/index.ts'
import { StreamsOptions } from '../../../protocol/options.ts'
import { drop, listenTcp, readAll, startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'
import { idOf, RawClient } from '../links/raw-client.ts'

/** Says its name to whoever connects. */
function greeter(t: TestContext, name: string): Promise<string> {
  return listenTcp(t, (socket) => socket.end(name))
}

async function greeting(proxy: TestProxy, user: string, machine: string): Promise<string> {
  const tunnel = await proxy.connect(user)
  const stream = await tunnel.open({ machine, kind: 'ssh' })
  const said = String(await readAll(stream))
  drop(stream)
  return said
}

test('the same machine name for two users is two machines', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', await greeter(t, "alice's"))
  await proxy.startAgent('home', 'bob', await greeter(t, "bob's"))
  assert.equal(await greeting(proxy, 'alice', 'home'), "alice's")
  assert.equal(await greeting(proxy, 'bob', 'home'), "bob's")
})

test("a user whose id is the beginning of another's cannot name that user's machine", async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'team:alice', await greeter(t, 'secret'))
  const tunnel = await proxy.connect('team')
  for (const machine of ['alice/home', ':alice/home', ':alice home', 'alice home']) {
    await assert.rejects(tunnel.open({ machine, kind: 'ssh' }), { code: 'MACHINE_UNKNOWN' })
    await assert.rejects(tunnel.exec(machine, 'true'), { code: 'MACHINE_UNKNOWN' })
    const route = `machines/${encodeURIComponent(machine)}`
    assert.equal((await proxy.api('team', route)).status, 404)
    assert.equal((await proxy.api('team', route, { method: 'DELETE' })).status, 404)
    assert.equal((await proxy.api('team', `${route}/trust`, { method: 'POST' })).status, 404)
  }
  assert.deepEqual(await tunnel.machines(), [])
  assert.equal(await greeting(proxy, 'team:alice', 'home'), 'secret')
})

test('a machine may be named like a property of every object, and is unknown until it is there', async (t) => {
  const proxy = await startProxy(t)
  const tunnel = await proxy.connect('alice')
  for (const machine of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
    await assert.rejects(tunnel.open({ machine, kind: 'ssh' }), { code: 'MACHINE_UNKNOWN' }, machine)
    await assert.rejects(tunnel.exec(machine, 'true'), { code: 'MACHINE_UNKNOWN' }, machine)
    assert.equal((await proxy.api('alice', `machines/${machine}`)).status, 404)
  }
  await proxy.startAgent('constructor', 'alice', await greeter(t, 'hello'))
  assert.equal(await greeting(proxy, 'alice', 'constructor'), 'hello')
})

test("no route tells one user of another's machine, and the answers are those for a machine that is nowhere", async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', await greeter(t, 'secret'))
  assert.deepEqual(await (await proxy.api('mallory', 'machines')).json(), [])
  const ask = async (machine: string, method: string, route = '') => {
    const answer = await proxy.api('mallory', `machines/${machine}${route}`, { method })
    const { correlationId, ...problem } = (await answer.json()) as Record<string, unknown>
    assert.ok(correlationId)
    return { status: answer.status, problem: JSON.parse(JSON.stringify(problem).replaceAll(machine, '…')) }
  }
  for (const [method, route] of [['GET'], ['DELETE'], ['POST', '/trust']] as const) {
    const hers = await ask('home', method, route)
    assert.deepEqual(hers, await ask('nowhere', method, route))
    assert.equal(hers.status, 404)
    assert.equal(hers.problem.code, 'MACHINE_UNKNOWN')
  }
  const key = async (user: string) =>
    ((await (await proxy.api(user, 'ssh/key')).json()) as { publicKey: string }).publicKey
  assert.match(await key('alice'), /^ssh-ed25519 \S+ tunnel:alice$/)
  assert.notEqual((await key('mallory')).split(' ')[1], (await key('alice')).split(' ')[1])
  assert.equal(((await (await proxy.api('alice', 'machines')).json()) as unknown[]).length, 1)
})

test("no kind of stream reaches another's machine, and the refusal is that of a machine that is nowhere", async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', await greeter(t, 'secret'))
  const tunnel = await proxy.connect('mallory')
  const attempts: ((machine: string) => Promise<unknown>)[] = [
    (machine) => tunnel.open({ machine, kind: 'ssh' }),
    (machine) => tunnel.open({ machine, kind: 'tcp', target: '127.0.0.1:22' }),
    (machine) => tunnel.exec(machine, 'true'),
    (machine) => tunnel.forwardRequest({ machine, port: 80 }),
  ]
  for (const attempt of attempts) {
    const refusal = async (machine: string) => {
      const error = await attempt(machine).then(
        () => assert.fail(`${machine} was reached`),
        (error: TunnelError) => error,
      )
      return { ...error.toWire(), message: error.message.replaceAll(machine, '…') }
    }
    const hers = await refusal('home')
    assert.equal(hers.code, 'MACHINE_UNKNOWN')
    assert.deepEqual(hers, await refusal('nowhere'))
  }
})

test("a subject that a peer puts into OPEN itself is the proxy's word in the end", async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', await greeter(t, 'secret'))
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('mallory') }).hello()
  raw.open(1, { kind: 'ssh', machine: 'home', subject: 'alice', owner: 'alice' })
  assert.equal((await raw.resetOf(1)).code, 'MACHINE_UNKNOWN')
})

test('a hook never sees a subject, an owner or an asked target of the client', async (t) => {
  const heads: object[] = []
  const proxy = await startProxy(t)
  proxy.app.tunnel.addHook('preOpen', ({ head }) => {
    heads.push(head)
    throw new TunnelError('POLICY_DENIED', 'enough', { hop: 'proxy' })
  })
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  const claims = { subject: 'root', owner: 'root', asked: 'localhost:22' }
  const kinds = [
    { kind: 'ssh' },
    { kind: 'tcp', target: 'localhost:80' },
    { kind: 'exec', exec: { command: 'id' } },
  ]
  for (const [index, head] of kinds.entries()) {
    const number = 2 * index + 1
    raw.open(number, { machine: 'home', ...head, ...claims })
    assert.equal((await raw.resetOf(number)).code, 'POLICY_DENIED')
  }
  assert.equal(heads.length, kinds.length)
  for (const head of heads) for (const name of Object.keys(claims)) assert.ok(!(name in head), name)
})

interface Held {
  id: string
  /** Says something and hears it again. */
  echo(): Promise<void>
}

/** A stream of alice's through `open`, to a service that says everything again. */
async function streamOf(
  t: TestContext,
  proxy: TestProxy,
  open: (alice: TunnelService) => Promise<StreamDuplex>,
): Promise<Held> {
  const stream = await open(await proxy.connect('alice'))
  t.after(() => drop(stream))
  const echo = async () => {
    const bytes = randomBytes(1_000)
    stream.write(bytes)
    const [chunk] = (await once(stream, 'data')) as [Buffer]
    assert.deepEqual(chunk, bytes)
  }
  await echo()
  return { id: stream.stream.id, echo }
}

async function sealedStreamOf(t: TestContext, proxy: TestProxy): Promise<Held> {
  await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.pipe(socket)))
  return streamOf(t, proxy, (alice) => alice.open({ machine: 'home', kind: 'ssh' }))
}

/** What the audit trail tells of, once the proxy has closed it. */
async function refusedResumes(proxy: TestProxy): Promise<string[]> {
  await proxy.close()
  const file = join(proxy.settings.state.dir, 'audit.log')
  assert.deepEqual((await verifyTrail([file])).findings, [])
  return (await readFile(file, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string; userId: string; machine: string })
    .filter(({ event }) => event === 'resume.refused')
    .map(({ userId, machine }) => `${userId} ${machine}`)
}

function warnings(proxy: TestProxy): string[] {
  const lines = proxy.log.filter(({ message }) => /resume of a stream of another user/.test(message))
  return lines.map(({ level, userId }) => `${level} ${userId}`)
}

const resume = { received: 0, limit: 65_536, attempt: 7 }

test("a resume of another user's sealed stream is an unknown stream, whatever machine it names, and is noted", async (t) => {
  const proxy = await startProxy(t)
  const { id, echo } = await sealedStreamOf(t, proxy)
  await proxy.startAgent('home', 'mallory', await greeter(t, 'his own'))
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('mallory') }).hello()
  raw.json(FrameType.RESUME, 1, { id, kind: 'ssh', machine: 'home', subject: 'alice', ...resume })
  assert.equal((await raw.resetOf(1)).code, 'UNKNOWN_STREAM')
  // A name that he has nothing behind.
  raw.json(FrameType.RESUME, 3, { id, kind: 'ssh', machine: 'elsewhere', ...resume })
  assert.equal((await raw.resetOf(3)).code, 'UNKNOWN_STREAM')
  assert.deepEqual(warnings(proxy), ['WARN mallory', 'WARN mallory'])
  await echo()
  assert.deepEqual(await refusedResumes(proxy), ['mallory home', 'mallory elsewhere'])
})

test("a resume of another user's stream whose owner is away is noted too, and the stream waits for its owner", async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.pipe(socket)))
  const owner = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  owner.open(1, { machine: 'home', kind: 'ssh' })
  await owner.frame((frame) => (frame[0]! & TYPE_MASK) === FrameType.ACCEPT)
  owner.socket.terminate()
  await until(() => proxy.app.links.count === 1)
  const id = idOf(1)
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('mallory') }).hello()
  raw.json(FrameType.RESUME, 1, { id, kind: 'ssh', machine: 'home', ...resume })
  assert.equal((await raw.resetOf(1)).code, 'UNKNOWN_STREAM')
  await proxy.startAgent('home', 'mallory', await greeter(t, 'his own'))
  raw.json(FrameType.RESUME, 3, { id, kind: 'ssh', machine: 'home', ...resume })
  assert.equal((await raw.resetOf(3)).code, 'UNKNOWN_STREAM')
  const back = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  back.json(FrameType.RESUME, 1, { id, kind: 'ssh', machine: 'home', ...resume })
  await back.frame((frame) => frame[0] === FrameType.RESUMED)
  assert.deepEqual(await refusedResumes(proxy), ['mallory home', 'mallory home'])
})

test("a resume of another user's sealed stream as an inspected one is an unknown stream and is noted", async (t) => {
  const proxy = await startProxy(t)
  const { id, echo } = await sealedStreamOf(t, proxy)
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('mallory') }).hello()
  raw.json(FrameType.RESUME, 1, { id, kind: 'tcp', machine: 'home', ...resume })
  assert.equal((await raw.resetOf(1)).code, 'UNKNOWN_STREAM')
  await echo()
  assert.deepEqual(await refusedResumes(proxy), ['mallory home'])
})

test("a resume of another user's inspected stream, of whatever kind it says it is, is an unknown stream and is noted", {
  skip: requireSystem('sshd'),
}, async (t) => {
  const [proxy, sshd] = await Promise.all([startProxy(t), startSshd(t)])
  await proxy.startAgent('home', 'alice', sshd)
  const target = await listenTcp(t, (socket) => socket.pipe(socket))
  const { id, echo } = await streamOf(t, proxy, (alice) =>
    alice.open({ machine: 'home', kind: 'tcp', target }),
  )
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('mallory') }).hello()
  raw.json(FrameType.RESUME, 1, { id, kind: 'tcp', machine: 'home', target, subject: 'alice', ...resume })
  assert.equal((await raw.resetOf(1)).code, 'UNKNOWN_STREAM')
  assert.deepEqual(warnings(proxy), ['WARN mallory'])
  raw.json(FrameType.RESUME, 3, { id, kind: 'ssh', machine: 'home', ...resume })
  assert.equal((await raw.resetOf(3)).code, 'UNKNOWN_STREAM')
  await echo()
  // It is hers to resume.
  proxy.cut('client')
  await echo()
  assert.deepEqual(await refusedResumes(proxy), ['mallory home', 'mallory home'])
})

test('who waits for a machine that was never on line leaves nothing behind', () => {
  const agents = new Agents(Value.Create(StreamsOptions))
  const never = () => assert.fail('it is not there')
  const waits = ['one', 'two', 'two'].map((name) => agents.ways.whenOnline('mallory', name, never, never))
  const known = () => ['one', 'two'].filter((name) => agents.get('mallory', name) !== undefined)
  assert.deepEqual(known(), ['one', 'two'])
  for (const stop of waits) stop()
  assert.deepEqual(known(), [])
  agents.close()
})
