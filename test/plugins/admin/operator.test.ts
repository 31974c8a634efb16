import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { startTestTunnel } from '../../../testing/index.ts'
import { isolated, tunnelLines } from '../../cli/tunnel.ts'
import { listenTcp, startProxy, until } from '../../support/proxy.ts'
import { newPublicKey } from '../../support/public-key.ts'
import { tempFolder } from '../../support/tree.ts'
import { auditOf } from './recorded.ts'

interface Diagnostics {
  users: { bufferBytes: number }[]
  connections: { ageMs: number }[]
  circuits: { user: string; machine: string; state: string }[]
  errors: { code: string }[]
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

test('`tunnel sessions` lists a live stream, and `tunnel sessions end` ends it: of the user, or of anybody for an administrator', async (t) => {
  const proxy = await startProxy(t)
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', echo)
  const alice = await proxy.connect('alice')
  const dir = await tempFolder(t, 'sessions')
  const as = (token: string) => (line: string[]) =>
    tunnelLines([['sessions', ...line]], isolated(dir, { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: token }))
  const [byAlice, byBob] = ['alice', 'bob'].map((user) => as(proxy.tokenOf(user))) as [Asks, Asks]
  const byRoot = as(proxy.tokenOf('root', { roles: ['admin'] }))
  for (const [by, why] of [
    [byAlice, /as its user asked/],
    [byRoot, /an administrator/],
  ] as const) {
    const live = await alice.open({ machine: 'home', kind: 'ssh' })
    const { id } = live.stream
    const ended = once(live, 'error')
    const [listed] = await by([])
    assert.match(listed?.stdout ?? '', new RegExp(`^alice +home +ssh +sealed +open .*${id}$`, 'm'))
    const [[none], [foreign]] = [await byBob([]), await byBob(['end', id])]
    assert.deepEqual([none?.stdout, foreign?.code], ['no stream is open\n', 1])
    const [done] = await by(['end', id])
    assert.deepEqual([done?.code, done?.stdout], [0, `${id} is ended\n`])
    const [error] = (await ended) as [{ code: string; message: string }]
    assert.equal(error.code, 'ABORTED')
    assert.match(error.message, why)
    const [again] = await by(['end', id, '--json'])
    assert.deepEqual([again?.code, again?.stdout], [1, ''])
    assert.equal(JSON.parse(again?.stderr ?? '').error.code, 'UNKNOWN_STREAM')
  }
})

test('`tunnel sessions --links` lists links, and `tunnel sessions end` ends one, whose client comes back', async (t) => {
  const proxy = await startProxy(t)
  const alice = await proxy.connect('alice')
  const dir = await tempFolder(t, 'links')
  const as = (token: string) => (line: string[]) =>
    tunnelLines([['sessions', ...line]], isolated(dir, { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: token }))
  const [byAlice, byBob] = ['alice', 'bob'].map((user) => as(proxy.tokenOf(user))) as [Asks, Asks]
  const [listed] = await byAlice(['--links'])
  const [, id = ''] = /^alice +client +- +websocket .* ([0-9a-f-]{36})$/m.exec(listed?.stdout ?? '') ?? []
  const [[none], [foreign], [wrong]] = [
    await byBob(['--links']),
    await byBob(['end', id]),
    await byBob(['end', 'x']),
  ]
  assert.deepEqual([none?.stdout, foreign?.code, wrong?.code], ['no link is open\n', 1, 2])
  const first = alice.link
  const recorded = auditOf(proxy)
  const [done] = await byAlice(['end', id])
  assert.deepEqual([done?.code, done?.stdout], [0, `${id} is ended\n`])
  await until(() => alice.link !== undefined && alice.link !== first)
  const ended = recorded.find(({ event }) => event === 'link.ended')
  assert.deepEqual(ended?.details, { role: 'client', connectionId: id, by: 'alice' })
})

test('diagnostics tell what each user uses, the connections, and the circuits, which are recorded and counted as they change', async (t) => {
  const hangsUp = await listenTcp(t, (socket) => socket.destroy())
  const port = Number(hangsUp.split(':')[1])
  const down = { host: '127.0.0.1', port, user: 'me', hostKey: newPublicKey(), owners: ['alice'] }
  const settings = ['server.docs=false', 'breaker.failures=2', `machines=${JSON.stringify({ down })}`]
  await using tunnel = await startTestTunnel({ settings, user: 'alice' })
  const { app, client, url, clock } = tunnel
  const audit = auditOf(tunnel)
  const headers = bearer(tunnel.token('root', { roles: ['admin'] }))
  const ask = (route: string, init = {}) => fetch(`${url}/api/tunnel/${route}`, { headers, ...init })
  const running = client.exec('home', ['cat'], { stdin: new ReadableStream() })
  running.catch(() => {})
  await until(() => app.forward.overview.list('alice')[0]?.state === 'open')
  const fail = async (...codes: string[]) => {
    for (const code of codes) await assert.rejects(client.exec('down', ['true']), { code })
  }
  await fail('SSH_HANDSHAKE_FAILED', 'SSH_HANDSHAKE_FAILED', 'CIRCUIT_OPEN', 'CIRCUIT_OPEN')

  const { users, connections, circuits, errors } = (await (await ask('diagnostics')).json()) as Diagnostics
  assert.deepEqual(
    users.map(({ bufferBytes: _, ...usage }) => usage),
    [{ user: 'alice', links: 1, streams: 1 }],
  )
  assert.deepEqual(
    connections.map(({ ageMs: _, ...connection }) => connection),
    [
      {
        ...{ user: 'alice', machine: 'home', owner: 'alice' },
        ...{ state: 'busy', channels: 1, maxChannels: 10, isOld: false },
      },
    ],
  )
  assert.deepEqual(
    circuits.map(({ user, machine, state }) => [user, machine, state]),
    [
      ['alice', 'home', 'closed'],
      ['alice', 'down', 'open'],
    ],
  )
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['CIRCUIT_OPEN', 'CIRCUIT_OPEN', 'SSH_HANDSHAKE_FAILED', 'SSH_HANDSHAKE_FAILED'],
  )
  // Half open once its time is over: one trial, which fails; then an administrator closes it.
  await clock.turn(60_000)
  await fail('SSH_HANDSHAKE_FAILED', 'CIRCUIT_OPEN')
  const body = JSON.stringify({ user: 'alice', machine: 'down', state: 'closed' })
  const put = { method: 'PUT', headers: { ...headers, 'content-type': 'application/json' }, body }
  assert.equal((await ask('circuits', put)).status, 204)
  await fail('SSH_HANDSHAKE_FAILED')
  assert.deepEqual(
    audit
      .filter(({ event }) => String(event).startsWith('circuit.'))
      .map(({ event, userId, machine, details }) => [event, userId, machine, details]),
    [
      ['circuit.opened', 'alice', 'down', { owner: 'alice' }],
      ['circuit.opened', 'alice', 'down', { owner: 'alice' }],
      ['circuit.closed', 'alice', 'down', { owner: 'alice', by: 'root' }],
    ],
  )
  const metrics = await (await ask('metrics')).text()
  for (const line of [
    'tunnel_circuit_transitions_total{to="open"} 2',
    'tunnel_circuit_transitions_total{to="half_open"} 1',
    'tunnel_circuit_transitions_total{to="closed"} 1',
    'tunnel_circuit_refusals_total 3',
  ])
    assert.ok(metrics.split('\n').includes(line), line)
})

type Asks = (line: string[]) => ReturnType<typeof tunnelLines>
