import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { Lookups } from '../../agent/lookups.ts'
import type { TunnelError, TunnelService } from '../../client/index.ts'
import { TunnelError as Failure } from '../../protocol/codec/errors.ts'
import { FrameType } from '../../protocol/codec/frames.ts'
import type { Lookup } from '../../protocol/node/names.ts'
import { idOf, RawClient } from '../plugins/links/raw-client.ts'
import { listenTcp, readAll, startProxy, type TestProxy, until } from '../support/proxy.ts'
import { Cleanup } from '../support/scope.ts'
import { requireSystem, type Sshd, startSshd } from '../support/sshd.ts'

const skip = requireSystem('sshd')

const rules = [
  { effect: 'deny', targets: ['10.0.0.0/8:*'] },
  { effect: 'allow', users: ['alice', 'bob'], targets: ['*'] },
  { effect: 'allow', owners: ['alice'], users: ['eve'], targets: ['*.lan:*'] },
  { effect: 'allow', users: ['old'], targets: ['*.test:*', 'trusted.test:*'] },
]

/** What the machine's resolver says now. */
const answers = new Map<string, string[]>()
const asked: string[] = []
const lookup: Lookup = async (name) => {
  asked.push(name)
  const found = answers.get(name)
  if (found?.[0] === 'silent') return new Promise(() => {})
  if (found === undefined) throw Object.assign(new Error('not there'), { code: 'ENOTFOUND' })
  return found.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
}

const cleanup = new Cleanup()
let proxy: TestProxy
let sshd: Sshd
let alice: TunnelService
let port: string
/** What the service was sent as its host, once for each request; and the connections that it had. */
const hosts: string[] = []
let connections = 0
before(async () => {
  if (skip !== undefined) return
  const service = await listenTcp(cleanup, (socket) => {
    connections++
    socket.on('data', (bytes: Buffer) => {
      const host = /^host: (.*)\r$/im.exec(String(bytes))?.[1] ?? ''
      hosts.push(host)
      if (host === '') return void socket.end('raw')
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere')
    })
  })
  port = service.split(':')[1] ?? ''
  sshd = await startSshd(cleanup)
  proxy = await startProxy(cleanup, { set: [`policy.rules=${JSON.stringify(rules)}`] })
  await proxy.startAgent('home', 'alice', sshd, { lookup })
  alice = await proxy.connect('alice')
})
after(() => cleanup.close())

async function rawBy(tunnel: TunnelService, target: string): Promise<string> {
  const stream = await tunnel.open({ machine: 'home', kind: 'tcp', target })
  stream.end('hello')
  return String(await readAll(stream))
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    (value) => `no refusal: ${String(value)}`,
    (error: TunnelError) => error.code,
  )
}

const get = async (target: string, user = alice) => (await user.fetch('http://home/', { target })).text()

async function audited(): Promise<{ event: string; details: Record<string, unknown> }[]> {
  const text = await readFile(join(proxy.settings.state.dir, 'audit.log'), 'utf8')
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}

test('a name is resolved by the agent and dialled by address, and the service is still told the name', {
  skip,
}, async () => {
  answers.set('web.test', ['::ffff:127.0.0.1', '127.0.0.1'])
  assert.equal(await rawBy(alice, `web.test:${port}`), 'raw')
  assert.equal(await get(`web.test:${port}`), 'here')
  assert.equal(hosts.at(-1), `web.test:${port}`)
  // Nobody's sshd could have resolved it.
  assert.deepEqual(asked, ['web.test'])
  await until(async () => (await audited()).some(({ details }) => details.addresses === '127.0.0.1'))
})

test('a name of whose addresses one is never reached, or is denied, is refused and nothing is dialled', {
  skip,
}, async () => {
  const before = connections
  const forbidden = [
    ...['169.254.169.254', '::ffff:169.254.169.254', '64:ff9b::a9fe:a9fe', 'fd00:ec2::254', 'fe80::1%lo'],
    ...['10.1.2.3', '64:ff9b::a01:203'],
  ]
  for (const [index, address] of forbidden.entries()) {
    const beside = address.startsWith('fe80') ? [] : ['127.0.0.1']
    const name = `bad-${index}.test`
    answers.set(name, [...beside, address])
    assert.equal(await codeOf(rawBy(alice, `${name}:${port}`)), 'POLICY_DENIED', address)
    assert.equal(await codeOf(get(`${name}:${port}`)), 'POLICY_DENIED', address)
  }
  assert.equal(connections, before)
  // Those that policy refused are recorded with where they led.
  await until(async () =>
    (await audited()).some(
      ({ details: { outcome, addresses } }) =>
        outcome === 'POLICY_DENIED' && addresses === '127.0.0.1 10.1.2.3',
    ),
  )
})

test('a name that changes its meaning leads where it was checked, and is not asked about for each connection', {
  skip,
}, async () => {
  asked.length = 0
  answers.set('rebind.test', ['127.0.0.1'])
  assert.equal(await rawBy(alice, `rebind.test:${port}`), 'raw')
  answers.set('rebind.test', ['169.254.169.254'])
  const [first, ...more] = await Promise.all([1, 2, 3].map(() => rawBy(alice, `rebind.test:${port}`)))
  assert.deepEqual([first, ...more], ['raw', 'raw', 'raw'])
  assert.deepEqual(asked, ['rebind.test'])
  // The answer is forgotten within seconds, and then the new one holds.
  await until(async () => (await codeOf(rawBy(alice, `rebind.test:${port}`))) === 'POLICY_DENIED')
})

test('the next address is tried when one refuses, and what all of them say is told by the name', {
  skip,
}, async () => {
  answers.set('two.test', ['127.0.0.2', '127.0.0.1'])
  assert.equal(await rawBy(alice, `two.test:${port}`), 'raw')
  const nobody = await listenTcp(cleanup, () => {})
  answers.set('none.test', ['127.0.0.2', '127.0.0.3'])
  const target = `none.test:${nobody.split(':')[1]}`
  await assert.rejects(rawBy(alice, target), { code: 'CONNECT_REFUSED', message: new RegExp(target) })
  await assert.rejects(rawBy(alice, `missing.test:${port}`), {
    code: 'DNS_FAILED',
    hop: 'agent',
    message: /missing\.test/,
  })
})

test('whoever gives up while the resolver is silent is gone at once, and others are served', {
  skip,
}, async () => {
  answers.set('silent.test', ['silent'])
  const abort = new AbortController()
  const opening = alice.open({
    machine: 'home',
    kind: 'tcp',
    target: `silent.test:${port}`,
    signal: abort.signal,
  })
  const gone = codeOf(opening)
  const fetching = alice.fetch('http://home/', { target: `silent.test:${port}`, signal: abort.signal })
  const goneToo = assert.rejects(fetching)
  await until(() => asked.includes('silent.test'))
  assert.equal(await rawBy(alice, `web.test:${port}`), 'raw')
  abort.abort()
  assert.equal(await gone, 'ABORTED')
  await goneToo
  // What is held for such a stream is let go of with it.
  await until(() => [...proxy.app.forward.streamsOf('alice')].length === 0)
})

test("a name that a glob allows does not open a shared machine's own services", { skip }, async () => {
  await sshd.authorize(proxy.app.ssh.publicKey('eve'))
  const eve = await proxy.connect('eve')
  answers.set('mine.lan', ['127.0.0.1'])
  assert.equal(await codeOf(rawBy(eve, `mine.lan:${port}`)), 'POLICY_DENIED')
  assert.equal(await rawBy(alice, `mine.lan:${port}`), 'raw')
})

test('an admin is told where a name leads, and what that decides', { skip }, async () => {
  const check = async (target: string, sub = 'alice') => {
    const token = proxy.tokenOf('root', { roles: ['admin'] })
    const body = { sub, machine: sub === 'eve' ? 'alice/home' : 'home', kind: 'tcp', target }
    const answer = await proxy.api(undefined, 'policy/check', { method: 'POST', token, body })
    return (await answer.json()) as Record<string, unknown>
  }
  answers.set('inside.test', ['10.4.4.4'])
  answers.set('cloud.test', ['169.254.169.254'])
  const { allowed, rule, addresses } = await check('web.test:80')
  assert.deepEqual([allowed, rule, addresses], [true, 'policy.rules[1]', ['127.0.0.1']])
  const inside = await check('inside.test:80')
  assert.deepEqual([inside.allowed, inside.rule, inside.addresses], [false, 'policy.rules[0]', ['10.4.4.4']])
  const cloud = await check('cloud.test:80')
  assert.deepEqual([cloud.allowed, cloud.rule, cloud.code], [false, 'metadata addresses', 'POLICY_DENIED'])
  const missing = await check('missing.test:80')
  assert.equal(missing.allowed, true)
  assert.match(String(missing.reason), /DNS_FAILED/)
  const mine = await check('mine.lan:80', 'eve')
  assert.deepEqual([mine.allowed, mine.rule], [false, 'policy.default'])
})

test('with an agent that knows no lookups a name is refused unless a rule allows that very name', {
  skip,
}, async (t) => {
  await proxy.startAgent('home', 'old', sshd)
  // As its codec refuses a kind that it does not know.
  const answer = t.mock.method(Lookups.prototype, 'answer', async () => {
    throw new Failure('FRAME_INVALID', 'kind "lookup" is unknown', { hop: 'link' })
  })
  const old = await proxy.connect('old')
  for (const name of ['web.test', 'web2.test'])
    await assert.rejects(rawBy(old, `${name}:${port}`), { code: 'VERSION_UNSUPPORTED', message: /update it/ })
  assert.equal(await codeOf(get(`web.test:${port}`, old)), 'VERSION_UNSUPPORTED')
  assert.equal(await rawBy(old, `localhost:${port}`), 'raw')
  // The operator's own word: sshd is asked, as before, and says that it cannot resolve this one.
  await assert.rejects(rawBy(old, `trusted.test:${port}`), { code: 'CONNECT_REFUSED', hop: 'target' })
  assert.equal(answer.mock.callCount(), 1)
})

test('no client can ask an agent for its names', { skip }, async (t) => {
  asked.length = 0
  const raw = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') })
  await raw.hello()
  for (const [index, target] of ['web.test', `web.test:${port}`, undefined].entries()) {
    const head = { kind: 'lookup', machine: 'home', subject: 'bob', ...(target !== undefined && { target }) }
    raw.open(2 * index + 1, head)
    assert.equal((await raw.resetOf(2 * index + 1)).code, 'FRAME_INVALID')
  }
  const resume = { id: idOf(99), kind: 'lookup', machine: 'home', received: 0, limit: 65_536, attempt: 1 }
  raw.json(FrameType.RESUME, 7, resume)
  assert.equal((await raw.resetOf(7)).code, 'TIER_REQUIRED')
  assert.deepEqual(asked, [])
  assert.equal(await rawBy(alice, `web.test:${port}`), 'raw')
})

test('a rule that comes to deny an address holds for what was connected to it by name', {
  skip,
}, async (t) => {
  const own = await startProxy(t, { set: [`policy.rules=${JSON.stringify(rules)}`] })
  const names: string[] = []
  await sshd.authorize(own.app.ssh.publicKey('bob'))
  await own.startAgent('home', 'bob', sshd, {
    lookup: async (name) => {
      names.push(name)
      return [{ address: '127.0.0.1', family: 4 }]
    },
  })
  const bob = await own.connect('bob')
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const echoPort = echo.split(':')[1]
  const stream = await bob.open({ machine: 'home', kind: 'tcp', target: `echo.test:${echoPort}` })
  stream.write('hello')
  await once(stream, 'data')
  // Its connection is kept for the next request.
  assert.equal(await get(`web.test:${port}`, bob), 'here')
  const token = own.tokenOf('root', { roles: ['admin'] })
  const changed = await fetch(`${own.url}/api/tunnel/config`, {
    method: 'PATCH',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'if-match': (await own.api(undefined, 'config', { token })).headers.get('etag') ?? '',
    },
    body: JSON.stringify({ policy: { rules: [{ effect: 'deny', targets: ['127.0.0.0/8:*'] }, ...rules] } }),
  })
  assert.equal(changed.status, 200)
  assert.equal(await codeOf(get(`web.test:${port}`, bob)), 'POLICY_DENIED')
  assert.deepEqual(names, ['echo.test', 'web.test'])
  const ended = once(stream, 'error') as Promise<[TunnelError]>
  own.cut('client')
  assert.equal((await ended)[0].code, 'UNKNOWN_STREAM')
})
