import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { encodeHead, FrameType, streamNumber } from '../../../protocol/codec/frames.ts'
import { drop, listenTcp, readAll, startProxy, until } from '../../support/proxy.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'
import { webService } from '../forward/rig.ts'
import { helloOf, RawClient } from '../links/raw-client.ts'
import { samples } from './reading.ts'

test('the bytes of a sealed stream are counted while it lasts, through an agent and to a configured host', async (t) => {
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBL0gCvVwXyV8CkN3CHd1Jm3k8yYwqIwQ0gI0R0aXJkQ'
  const far = { host: '127.0.0.1', port: Number(echo.split(':')[1]), user: 'me', hostKey, owners: ['alice'] }
  const proxy = await startProxy(t, { set: [`machines=${JSON.stringify({ far })}`] })
  await proxy.startAgent('home', 'alice', echo)
  const tunnel = await proxy.connect('alice')
  const text = async () => (await proxy.api(undefined, 'metrics')).text()
  const bytes = async (direction: string) => {
    const found = (await text()).match(
      `tunnel_bytes_total\\{direction="${direction}",mode="sealed"\\} (\\d+)`,
    )
    return Number(found?.[1])
  }

  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  stream.write('x'.repeat(1_000))
  await until(async () => (await bytes('out')) === 1_000)
  assert.equal(await bytes('in'), 1_000)
  stream.end()
  await readAll(stream)

  const toHost = await tunnel.open({ machine: 'far', kind: 'ssh' })
  assert.match(await text(), /^tunnel_streams\{kind="ssh",state="open"\} 1$/m)
  toHost.end('y'.repeat(500))
  await readAll(toHost)
  await until(async () => (await bytes('out')) === 1_500)
  assert.equal(await bytes('in'), 1_500)
  await until(async () => /^tunnel_requests_total\{kind="ssh",outcome="ok"\} 2$/m.test(await text()))
})

test('a round trip is observed once, however often the metrics are read; a session when it is over', async (t) => {
  const proxy = await startProxy(t, { set: ['tiers.enterprise.links=1'] })
  await proxy.startAgent('home', 'alice', await listenTcp(t, (socket) => socket.pipe(socket)))
  const tunnel = await proxy.connect('alice')
  const countOf = async (metric: string) => {
    const text = await (await proxy.api(undefined, 'metrics')).text()
    return Number(text.match(new RegExp(`^${metric} (\\d+)$`, 'm'))?.[1] ?? 0)
  }
  const rtt = 'tunnel_heartbeat_rtt_ms_count'
  assert.equal(await countOf(rtt), 0)
  // One link too many: the proxy asks the other whether it lives.
  await assert.rejects(proxy.client('alice').connect(), { code: 'TOO_MANY_CONNECTIONS' })
  await until(async () => (await countOf(rtt)) === 1)
  for (let reads = 0; reads < 3; reads++) assert.equal(await countOf(rtt), 1)
  const latency = 'tunnel_request_latency_ms_count\\{kind="ssh"\\}'
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  assert.equal(await countOf(latency), 0)
  stream.end()
  await readAll(stream)
  await until(async () => (await countOf(latency)) === 1)
})

test('streams are counted while they are there, and requests by how they ended at their machine', async (t) => {
  const proxy = await startProxy(t)
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', echo, { allow: ['127.0.0.1:1'] })
  const tunnel = await proxy.connect('alice')
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  const text = async () => (await proxy.api(undefined, 'metrics')).text()
  assert.match(await text(), /^tunnel_streams\{kind="ssh",state="open"\} 1$/m)
  assert.match(await text(), /^tunnel_streams\{kind="exec",state="open"\} 0$/m)
  await assert.rejects(tunnel.open({ machine: 'home', kind: 'ssh', target: '127.0.0.1:1' }), {
    code: 'CONNECT_REFUSED',
  })
  await assert.rejects(tunnel.open({ machine: 'nowhere', kind: 'ssh' }), { code: 'MACHINE_UNKNOWN' })
  stream.end('bye')
  await readAll(stream)
  await until(async () => /^tunnel_streams\{kind="ssh",state="open"\} 0$/m.test(await text()))
  const counted = [
    ...(await text()).matchAll(/^tunnel_requests_total\{kind="ssh",outcome="(\w+)"\} (\d+)$/gm),
  ]
  assert.deepEqual(Object.fromEntries(counted.map(([, outcome, count]) => [outcome, count])), {
    CONNECT_REFUSED: '1',
    MACHINE_UNKNOWN: '1',
    ok: '1',
  })
  assert.deepEqual(await samples(proxy, 'tunnel_stream_opens_total'), {
    'kind="ssh",outcome="ok"': 1,
    'kind="ssh",outcome="CONNECT_REFUSED"': 1,
    'kind="ssh",outcome="MACHINE_UNKNOWN"': 1,
  })
  assert.deepEqual(await samples(proxy, 'tunnel_stream_open_seconds_count'), { 'kind="ssh"': 1 })
})

test('the times of a stream whose caller traces it have the trace as an exemplar, and those of others have none', async (t) => {
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', echo)
  const tunnel = await proxy.connect('alice')
  const trace = '0af7651916cd43dd8448eb211c80319c'
  const exemplars = async () => {
    const text = await proxy.app.tunnelMetrics.read('openmetrics')
    return [...text.matchAll(/^(tunnel_\w+)_bucket\{.*\} \S+ # \{trace_id="(\w+)"\}/gm)].map(
      ([, ...found]) => found,
    )
  }
  const use = async (flags?: string) => {
    const given = flags !== undefined && { traceparent: `00-${trace}-b7ad6b7169203331-${flags}` }
    const stream = await tunnel.open({ machine: 'home', kind: 'ssh', ...given })
    stream.end()
    await readAll(stream)
  }
  const counted = async (times: number) => {
    const requests = await samples(proxy, 'tunnel_requests_total')
    return requests['kind="ssh",outcome="ok"'] === times
  }
  // Traced by nobody, and by somebody who keeps nothing of it.
  await use()
  await use('00')
  await until(() => counted(2))
  assert.deepEqual(await exemplars(), [])
  await use('01')
  await until(() => counted(3))
  assert.deepEqual(await exemplars(), [
    ['tunnel_request_duration_seconds', trace],
    ['tunnel_stream_open_seconds', trace],
  ])
})

test('SSH connections, what waits for one, and what goes over it are counted', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const set = ['pool.maxPerUser=1', 'pool.channelsPerConnection=1']
  const [proxy, sshd] = await Promise.all([startProxy(t, { set }), startSshd(t)])
  await proxy.startAgent('home', 'alice', sshd)
  const tunnel = await proxy.connect('alice')
  const read = (name: string) => samples(proxy, name)
  const pool = async () => {
    const states = await read('tunnel_ssh_pool_connections')
    return ['connecting', 'idle', 'busy'].map((state) => states[`state="${state}"`])
  }
  assert.deepEqual(await pool(), [0, 0, 0])

  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const resolve = proxy.app.machines.resolve.bind(proxy.app.machines)
  let goOn: () => void = () => {}
  const seen = new Promise<void>((done) => {
    goOn = done
  })
  t.mock.method(proxy.app.machines, 'resolve', async (...asked: Parameters<typeof resolve>) => {
    const route = await resolve(...asked)
    return { ...route, dial: () => seen.then(route.dial) }
  })
  const command = tunnel.exec('home', 'true')
  await until(async () => (await pool())[0] === 1)
  goOn()
  await command
  await until(async () => (await pool())[1] === 1)
  const stream = await tunnel.open({ machine: 'home', kind: 'tcp', target: echo })
  assert.deepEqual(await pool(), [0, 0, 1])
  assert.deepEqual(await read('tunnel_ssh_connect_ms_count'), { '': 1 })
  assert.ok((await read('tunnel_ssh_connect_ms_sum'))['']! > 0, 'connecting took no time')

  const web = await webService(t, (_incoming, outgoing) => outgoing.end('hello'))
  const priorities = ['high', 'low', 'low'] as const
  const asked = priorities.map((priority) =>
    tunnel.forwardRequest({ machine: 'home', target: web, method: 'POST', body: 'abc', priority }),
  )
  const queue = { 'priority="high"': 1, 'priority="normal"': 0, 'priority="low"': 2 }
  await until(async () => isDeepStrictEqual(await read('tunnel_queue_size'), queue))
  assert.deepEqual(await read('tunnel_request_latency_ms_count'), { 'kind="exec"': 1 })
  stream.end('x'.repeat(1_000))
  await readAll(stream)
  await Promise.all(asked)
  const over = { 'kind="exec",outcome="ok"': 1, 'kind="tcp",outcome="ok"': 1, 'kind="http",outcome="ok"': 3 }
  await until(async () => isDeepStrictEqual(await read('tunnel_requests_total'), over))
  const latencies = { 'kind="exec"': 1, 'kind="tcp"': 1, 'kind="http"': 3 }
  assert.deepEqual(await read('tunnel_request_latency_ms_count'), latencies)
  const bytes = await read('tunnel_bytes_total')
  assert.equal(bytes['direction="in",mode="inspected"'], 1_000 + 3 * 'abc'.length)
  assert.equal(bytes['direction="out",mode="inspected"'], 1_000 + 3 * 'hello'.length)
  assert.deepEqual(await read('tunnel_queue_size'), {
    'priority="high"': 0,
    'priority="normal"': 0,
    'priority="low"': 0,
  })
  assert.deepEqual(await read('tunnel_ssh_connect_ms_count'), { '': 1 })
})

test('circuits are counted by their state', async (t) => {
  const proxy = await startProxy(t, { set: ['breaker.failures=1'] })
  const lost = () => Promise.reject(new TunnelError('AGENT_LOST', 'gone', { hop: 'proxy' }))
  for (const [user, machine] of [
    ['alice', 'home'],
    ['alice', 'office'],
  ] as const) {
    await assert.rejects(proxy.app.breaker.run({ user, owner: user, machine }, lost), { code: 'AGENT_LOST' })
  }
  await proxy.app.breaker.run({ user: 'bob', owner: 'bob', machine: 'home' }, async () => 'sound')
  assert.deepEqual(await samples(proxy, 'tunnel_circuit_breaker_state'), {
    'state="closed"': 1,
    'state="open"': 2,
    'state="half_open"': 0,
  })
})

test('what each limit refuses is counted by limit and tier', async (t) => {
  const set = [
    'rateLimit.perIpPerMinute=5',
    'rateLimit.tiers.free.perMinute=1',
    'rateLimit.tiers.free.burst=2',
    'tiers.free.links=1',
  ]
  const proxy = await startProxy(t, { set })
  const token = proxy.tokenOf('alice', { tier: 'free' })
  const tunnel = await proxy.connect('alice', { token })
  for (const code of ['MACHINE_UNKNOWN', 'MACHINE_UNKNOWN', 'RATE_LIMITED', 'RATE_LIMITED'])
    await assert.rejects(tunnel.open({ machine: 'home', kind: 'ssh' }), { code })
  // There is one link already; then two have been asked for, which are a minute's.
  for (const code of ['TOO_MANY_CONNECTIONS', 'RATE_LIMITED'])
    await assert.rejects(proxy.client('alice', { token }).connect(), { code })
  for (const status of [200, 200, 429]) assert.equal((await proxy.api('bob', 'machines')).status, status)
  assert.deepEqual(await samples(proxy, 'tunnel_rate_limited_total'), {
    'scope="stream",tier="free"': 2,
    'scope="link",tier="free"': 2,
    'scope="ip",tier="none"': 1,
  })
})

test('refused credentials are counted by what was wrong with them, on a link too', async (t) => {
  const proxy = await startProxy(t)
  const expired = proxy.tokenOf('alice', { ttlSeconds: -60 })
  for (const token of [undefined, 'a.b.c', expired, expired])
    assert.equal((await proxy.api(undefined, 'machines', token === undefined ? {} : { token })).status, 401)
  const raw = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  raw.json(FrameType.AUTH, 0, { token: 'a.b.c' })
  await raw.closed
  assert.deepEqual(await samples(proxy, 'tunnel_auth_failures_total'), {
    'code="TOKEN_MISSING"': 1,
    'code="TOKEN_INVALID"': 2,
    'code="TOKEN_EXPIRED"': 2,
  })
})

test('what a peer does not read is counted as unsent, until it has left', async (t) => {
  const proxy = await startProxy(t)
  const agent = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice'), route: 'agent' })
  await agent.hello(helloOf({ role: 'agent', machine: 'home', enrol: { hostKeys: [], sshUser: 'me' } }))
  // More than all sockets' buffers.
  const window = 33_554_432
  const tunnel = await proxy.connect('alice', {
    settings: { streams: { windowBytes: window, maxWindowBytes: window } },
  })
  const opening = tunnel.open({ machine: 'home', kind: 'ssh' })
  const number = streamNumber(await agent.frame((frame) => frame[0] === FrameType.OPEN))
  agent.send(encodeHead(FrameType.ACCEPT, number, { window }))
  const stream = await opening
  const unsent = async () => (await samples(proxy, 'tunnel_link_send_buffer_bytes'))['']
  agent.socket.pause()
  stream.write(Buffer.alloc(window - 1_048_576))
  // As much as is given to a socket that does not take it.
  await until(async () => (await unsent())! > 100_000)
  agent.socket.resume()
  await until(async () => (await unsent()) === 0)
  drop(stream)
})
