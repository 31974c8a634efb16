import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { get } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'node:test'
import { dialTarget } from '../../../agent/dial.ts'
import type { Machine, TunnelError, TunnelService } from '../../../client/index.ts'
import { dialTcp } from '../../../plugins/machines/dial-tcp.ts'
import { FrameType } from '../../../protocol/codec/frames.ts'
import { parseTarget } from '../../../protocol/codec/target.ts'
import {
  drop,
  listenTcp,
  nextEvent,
  readAll,
  startProxy,
  type TestProxy,
  until,
} from '../../support/proxy.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'
import { helloOf, RawClient } from '../links/raw-client.ts'

const skip = requireSystem('sshd')

function withRules(...rules: object[]): string {
  return `policy.rules=${JSON.stringify(rules)}`
}

const share = { effect: 'allow', users: ['bob'], owners: ['alice'], machines: ['home'] }

async function auditOf(proxy: TestProxy): Promise<Record<string, unknown>[]> {
  await proxy.close()
  const text = await readFile(join(proxy.settings.state.dir, 'audit.log'), 'utf8')
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

async function machinesOf(proxy: TestProxy, user: string): Promise<Machine[]> {
  return (await (await proxy.api(user, 'machines')).json()) as Machine[]
}

/** What a stream is refused with. */
async function refusal(opening: Promise<unknown>): Promise<TunnelError> {
  return opening.then(
    () => assert.fail('it was let in'),
    (error: TunnelError) => error,
  )
}

test('a machine that a rule shares is used as its user, and stays what it is to its owner and to strangers', {
  skip,
}, async (t) => {
  const kinds = ['ssh', 'exec', 'http']
  const sshd = await startSshd(t)
  const proxy = await startProxy(t, { set: [withRules({ ...share, kinds }), 'gateway.host=localhost'] })
  const agentLog: string[] = []
  await proxy.startAgent('home', 'alice', sshd, {
    log: (_level, message, context) => void agentLog.push(`${message} ${context?.userId ?? ''}`),
  })
  await proxy.startAgent('nas', 'alice', sshd)
  const [alice, bob, eve] = await Promise.all([
    proxy.connect('alice'),
    proxy.connect('bob'),
    proxy.connect('eve'),
  ])

  await t.test("its owner's sshd lets in the key of whoever uses it, and no other", async () => {
    const error = await refusal(bob.exec('home', 'true'))
    assert.equal(error.code, 'SSH_AUTH_FAILED')
    assert.equal((await alice.exec('home', 'echo hers')).stdout.toString(), 'hers\n')
    await sshd.authorize(proxy.app.ssh.publicKey('bob'))
    for (const name of ['home', 'alice/home'])
      assert.equal((await bob.exec(name, 'echo his')).stdout.toString(), 'his\n', name)
  })

  await t.test(
    'connections and circuits are those of whoever uses them, and the agent knows who that is',
    async () => {
      const count = (user: string) => {
        const { idle, busy, connecting } = proxy.app.pool.states(user)
        return idle + busy + connecting
      }
      assert.deepEqual([count('alice'), count('bob'), count('eve')], [1, 1, 0])
      const circuits = proxy.app.breaker
        .states()
        .map(({ user, owner, machine }) => [user, owner, machine].join(' '))
      assert.deepEqual(circuits.sort(), ['alice alice home', 'bob alice home'])
      assert.ok(
        agentLog.some((line) => line.includes('begins') && line.endsWith(' bob')),
        agentLog.join('\n'),
      )
    },
  )

  await t.test('what the rule leaves out is refused, and nothing else of hers is known', async () => {
    assert.equal((await refusal(bob.open({ machine: 'home', kind: 'sftp' }))).code, 'POLICY_DENIED')
    assert.equal((await refusal(bob.exec('nas', 'true'))).code, 'MACHINE_UNKNOWN')
    const strange = (name: string) =>
      refusal(eve.exec(name, 'true')).then(({ code, message }) => [code, message])
    for (const name of ['home', 'alice/home', 'alice/nas', 'bob/home']) {
      const [code, message] = await strange(name)
      assert.equal(code, 'MACHINE_UNKNOWN', name)
      assert.equal(message, `you have no machine named ${name}`)
    }
  })

  await t.test('it is listed with its owner, who alone changes anything about it', async () => {
    const [his, ...more] = await machinesOf(proxy, 'bob')
    assert.deepEqual(
      [his?.owner, his?.name, his?.shared, his?.online, his?.streams],
      ['alice', 'home', true, true, undefined],
    )
    assert.equal(more.length, 0)
    assert.deepEqual(await machinesOf(proxy, 'eve'), [])
    assert.ok((await machinesOf(proxy, 'alice')).every(({ shared }) => shared === undefined))
    for (const route of ['machines/home', 'machines/alice%2Fhome']) {
      assert.equal((await proxy.api('bob', route)).status, 200)
      for (const [method, tail] of [
        ['DELETE', ''],
        ['POST', '/trust'],
      ] as const) {
        const answer = await proxy.api('bob', `${route}${tail}`, { method })
        assert.equal(((await answer.json()) as { code: string }).code, 'FORBIDDEN')
        assert.equal((await proxy.api('eve', `${route}${tail}`, { method })).status, 404)
      }
    }
  })

  await t.test("one's own machine goes first, and a stream that stands stays where it is", async () => {
    const stream = await bob.open({ machine: 'home', kind: 'ssh' })
    stream.on('error', () => {})
    const [greeting] = (await once(stream, 'data')) as [Buffer]
    assert.match(String(greeting), /^SSH-2\.0-/)
    await proxy.startAgent('home', 'bob', await listenTcp(t, (socket) => socket.end("bob's own")))
    const own = await bob.open({ machine: 'home', kind: 'ssh' })
    assert.equal(String(await readAll(own)), "bob's own")
    drop(own)
    const resumed = nextEvent(bob as never, 'resumed')
    proxy.cut('client')
    await resumed
    // Her sshd answers what is no SSH; his own service never would.
    stream.write('nonsense\r\n')
    assert.match(String((await once(stream, 'data'))[0]), /Invalid SSH/)
    drop(stream)
    await until(() => proxy.app.forward.overview.held().passages === 0)
  })

  await t.test(
    "a URL names her machine where one's own has that name, by each form that it has",
    async (t) => {
      const service = await listenTcp(t, (socket) =>
        socket.end('HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhers'),
      )
      const port = service.split(':')[1] ?? ''
      assert.equal(await (await bob.fetch(`http://home+alice:${port}/`)).text(), 'hers')
      const route = (tail: string) => `machines/alice%2Fhome/${tail}/${port}`
      assert.equal(await (await proxy.api('bob', `${route('http')}/`)).text(), 'hers')
      assert.equal((await proxy.api('eve', `${route('http')}/`)).status, 404)
      const originOf = async (path: string) =>
        ((await (await proxy.api('bob', path)).json()) as { origin: string }).origin
      const [hers, own] = [await originOf(route('origin')), await originOf(`machines/home/origin/${port}`)]
      assert.notEqual(hers, own)
      const ticketOf = async (user: string) =>
        ((await (await proxy.api(user, 'auth/ticket', { method: 'POST' })).json()) as { ticket: string })
          .ticket
      const at = async (origin: string, path: string, cookie = '') => {
        const headers = { host: new URL(origin).host, cookie }
        const [answer] = await once(get(`${proxy.url}${path}`, { headers }), 'response')
        return {
          status: answer.statusCode,
          cookie: answer.headers['set-cookie']?.[0] ?? '',
          body: await text(answer),
        }
      }
      const { cookie } = await at(hers, `/?ticket=${await ticketOf('bob')}`)
      const { body } = await at(hers, '/', cookie)
      assert.equal(body, 'hers')
      assert.equal((await at(own, '/', cookie)).status, 401)
      for (const stranger of ['eve', 'alice'])
        assert.equal((await at(hers, `/?ticket=${await ticketOf(stranger)}`)).status, 403, stranger)
    },
  )

  await t.test('the audit trail has whoever did it, and whose machine it was', async () => {
    const closed = (await auditOf(proxy)).filter(({ event }) => event === 'stream.closed')
    const of = (user: string) =>
      closed
        .filter(({ userId }) => userId === user)
        .map(({ machine, details }) => [machine, (details as { owner?: string }).owner])
    assert.deepEqual(new Set(of('alice').map(String)), new Set(['home,']))
    assert.ok(of('bob').map(String).includes('home,alice'))
  })
})

test('whoever has machines of one name from two people has to say whose', async (t) => {
  const rules = [{ ...share, owners: ['alice', 'carol'] }]
  const proxy = await startProxy(t, { set: [withRules(...rules)] })
  for (const owner of ['alice', 'carol'])
    await proxy.startAgent('home', owner, await listenTcp(t, (socket) => socket.end(owner)))
  const bob = await proxy.connect('bob')
  const error = await refusal(bob.open({ machine: 'home', kind: 'ssh' }))
  assert.equal(error.code, 'MACHINE_UNKNOWN')
  assert.match(error.message, /alice\/home or carol\/home/)
  assert.equal(String(await readAll(await bob.open({ machine: 'carol/home', kind: 'ssh' }))), 'carol')
})

async function sees(tunnel: TunnelService, host: string, port: string): Promise<string> {
  try {
    const stream = await tunnel.open({ machine: 'home', kind: 'tcp', target: `${host}:${port}` })
    return String(await readAll(stream))
  } catch (error) {
    return (error as TunnelError).code
  }
}

test('whatever an address is called, the same rule decides, and what is refused is not dialled', {
  skip,
}, async (t) => {
  let connections = 0
  const service = await listenTcp(t, (socket) => {
    connections++
    socket.end('here')
  })
  const port = service.split(':')[1] ?? ''
  const rules = [{ effect: 'deny', users: ['bob'], targets: [`127.0.0.1:${port}`] }, share]
  const sshd = await startSshd(t)
  const proxy = await startProxy(t, {
    set: [withRules(...rules, { effect: 'allow', users: ['carol'], targets: ['*'] })],
  })
  await proxy.startAgent('home', 'alice', sshd)
  await proxy.startAgent('home', 'carol', sshd)
  const [alice, bob, carol] = await Promise.all([
    proxy.connect('alice'),
    proxy.connect('bob'),
    proxy.connect('carol'),
  ])
  const spellings = [
    '127.0.0.1',
    '127.1',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '2130706433',
    '0.0.0.0',
    'localhost',
    'LOCALHOST..',
    '[::ffff:127.0.0.1]',
  ]
  for (const host of spellings) assert.equal(await sees(alice, host, port), 'here', host)
  const reached = connections
  for (const host of spellings) assert.equal(await sees(bob, host, port), 'POLICY_DENIED', host)
  for (const host of ['10.0.0.1', 'example.com', 'localhost.example.com', '[::ffff:10.0.0.1]'])
    assert.equal(await sees(alice, host, port), 'POLICY_DENIED', host)
  for (const host of [
    '169.254.169.254',
    '0xa9fea9fe',
    '[::ffff:169.254.169.254]',
    'metadata.google.internal.',
  ])
    assert.equal(await sees(carol, host, port), 'POLICY_DENIED', host)
  for (const host of ['[fe80::1%lo]', '127.0.0.1@x', '127。0。0。1'])
    assert.equal(await sees(carol, host, port), 'FRAME_INVALID', host)
  // The client itself sees that this is none.
  assert.equal(await sees(carol, '127.0.0.1\n', port), 'CONFIG_INVALID')
  assert.equal(connections, reached)
})

test('a name is looked up once and dialled by address, and one that leads to this proxy or to metadata is not dialled', async (t) => {
  let connections = 0
  const service = await listenTcp(t, (socket) => {
    connections++
    socket.end()
  })
  const port = Number(service.split(':')[1])
  const asked: string[] = []
  const answering =
    (...addresses: string[]) =>
    async (name: string) => {
      asked.push(name)
      return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    }
  const here = ['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1', '0.0.0.0', '::']
  const metadata = ['169.254.169.254', '::ffff:169.254.169.254', 'fd00:ec2::254', 'fe80::1%lo']
  for (const address of [...here, ...metadata]) {
    // The answer of a rebinding name has an honest address too.
    for (const answer of [answering(address), answering('192.0.2.1', address)])
      await assert.rejects(
        dialTcp('nas', { host: 'nas.example', port }, answer),
        { code: 'POLICY_DENIED' },
        address,
      )
  }
  assert.equal(connections, 0)
  for (const address of metadata) {
    await assert.rejects(dialTcp('nas', { host: address.replace(/%.*/, ''), port }, answering(address)), {
      code: 'POLICY_DENIED',
    })
    const target = parseTarget(`db.example:${port}`) ?? assert.fail()
    await assert.rejects(dialTarget(target, undefined, answering(address)), { code: 'POLICY_DENIED' })
  }
  asked.length = 0
  drop(await dialTcp('nas', { host: 'localhost', port }, answering('127.0.0.1')))
  drop(
    await dialTarget(parseTarget(`db.example:${port}`) ?? assert.fail(), undefined, answering('127.0.0.1')),
  )
  assert.deepEqual(asked, ['localhost', 'db.example'])
  await until(() => connections === 2)
})

test('what a tier lacks and what is too many is refused with its own code, and another tier is not held up', async (t) => {
  const set = [
    'tiers.free.kinds=["ssh","exec"]',
    'tiers.free.machines=2',
    'tiers.free.streams=2',
    'tiers.free.agentLinks=8',
  ]
  const proxy = await startProxy(t, { set })
  const free = (user: string) => proxy.tokenOf(user, { tier: 'free' })
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', echo, { token: free('alice') })
  await proxy.startAgent('desk', 'alice', echo, { token: free('alice') })
  await proxy.startAgent('home', 'bob', echo)
  const third = new RawClient(t, { url: proxy.url, token: free('alice'), route: 'agent' })
  await third.opened()
  const enrol = { hostKeys: [], sshUser: 'me' }
  third.json(FrameType.HELLO, 0, helloOf({ role: 'agent', machine: 'nas', enrol }))
  assert.equal((await third.closed).code, 4429)
  const alice = await proxy.connect('alice', { token: free('alice') })
  const bob = await proxy.connect('bob')
  const lacking = await refusal(alice.open({ machine: 'home', kind: 'sftp' }))
  assert.deepEqual(
    [lacking.code, lacking.suggestion],
    ['TIER_REQUIRED', 'this needs a token of a higher tier'],
  )
  const streams = [
    await alice.open({ machine: 'home', kind: 'ssh' }),
    await alice.open({ machine: 'desk', kind: 'ssh' }),
  ]
  const many = await refusal(alice.open({ machine: 'home', kind: 'ssh' }))
  assert.equal(many.code, 'TOO_MANY_STREAMS')
  assert.match(many.message, /tier free may have at most 2 streams/)
  for (let count = 0; count < 4; count++) streams.push(await bob.open({ machine: 'home', kind: 'ssh' }))
  for (const stream of streams) drop(stream)
})

test('an admin is told what decides about a user, and nobody else is', async (t) => {
  const rules = [
    { ...share, kinds: ['ssh'] },
    { effect: 'deny', roles: ['guest'], reason: 'no guests' },
  ]
  const set = [withRules(...rules), 'tiers.free.modes=sealed']
  const proxy = await startProxy(t, { set })
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const token = proxy.tokenOf('root', { roles: ['admin'] })
  const ask = async (body: object, by = token) =>
    (await (
      await proxy.api(undefined, 'policy/check', { method: 'POST', token: by, body })
    ).json()) as Record<string, unknown>
  const about = async (body: object) => {
    const { allowed, rule, code } = await ask({ sub: 'bob', machine: 'home', kind: 'ssh', ...body })
    return `${allowed ? 'yes' : code}: ${rule}`
  }
  assert.equal(await about({}), 'yes: policy.rules[0]')
  assert.equal(await about({ machine: 'alice/home' }), 'yes: policy.rules[0]')
  assert.equal(await about({ sub: 'alice' }), 'yes: policy.default')
  assert.equal(await about({ roles: ['guest'] }), 'MACHINE_UNKNOWN: machines')
  assert.equal(await about({ sub: 'alice', roles: ['guest'] }), 'POLICY_DENIED: policy.rules[1]')
  assert.equal(await about({ kind: 'exec' }), 'POLICY_DENIED: policy.default')
  assert.equal(await about({ sub: 'alice', kind: 'exec' }), 'TIER_REQUIRED: tiers.free.modes')
  assert.equal(await about({ sub: 'alice', kind: 'exec', tier: 'premium' }), 'yes: policy.default')
  assert.equal(
    await about({ sub: 'alice', kind: 'tcp', target: '0xa9fea9fe:80' }),
    'POLICY_DENIED: metadata addresses',
  )
  assert.equal(await about({ sub: 'alice', roles: ['agent'] }), 'POLICY_DENIED: role agent')
  assert.equal(await about({ sub: 'eve' }), 'MACHINE_UNKNOWN: machines')
  assert.equal(await about({ sub: '../alice', machine: 'alice/home/..' }), 'MACHINE_UNKNOWN: machines')
  assert.equal(await about({ sub: 'alice', machine: 'new', kind: 'agent' }), 'yes: policy.default')
  const { machine } = await ask({ sub: 'bob', machine: 'home', kind: 'ssh' })
  assert.deepEqual(machine, { owner: 'alice', name: 'home' })
  for (const wrong of [
    {},
    { sub: 1 },
    { kind: 'telnet' },
    { target: 'nowhere' },
    { tier: 'gold' },
    { more: 1 },
  ])
    assert.equal(
      (await ask({ ...('sub' in wrong ? {} : { machine: 'home' }), kind: 'ssh', ...wrong })).code,
      'REQUEST_INVALID',
      JSON.stringify(wrong),
    )
  for (const roles of [[], ['user'], ['agent', 'admin']])
    assert.equal(
      (await ask({ sub: 'bob', machine: 'home', kind: 'ssh' }, proxy.tokenOf('bob', { roles }))).code,
      'FORBIDDEN',
    )
})
