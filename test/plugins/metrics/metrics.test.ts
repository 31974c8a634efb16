import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { type TestContext, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import Fastify from 'fastify'
import errors from '../../../plugins/errors/index.ts'
import { checkReader } from '../../../plugins/metrics/access.ts'
import { metricsOfRoutes, metricsRoute } from '../../../plugins/metrics/index.ts'
import type { MetricsOptions } from '../../../plugins/metrics/options.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { encodeHead, FrameType, streamNumber } from '../../../protocol/codec/frames.ts'
import { drop, listenTcp, readAll, startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'
import { webService } from '../forward/rig.ts'
import { registerAuth, registerGround } from '../ground.ts'
import { helloOf, RawClient } from '../links/raw-client.ts'

/** From `contract.md`: dashboards depend on these names and labels. */
const CONTRACT: Record<string, string[]> = {
  tunnel_requests_total: ['kind', 'outcome'],
  tunnel_request_latency_ms: ['kind'],
  tunnel_active_connections: ['role'],
  tunnel_errors_total: ['category', 'code'],
  tunnel_queue_size: ['priority'],
  tunnel_circuit_breaker_state: ['state'],
  tunnel_bytes_total: ['direction', 'mode'],
  tunnel_streams: ['kind', 'state'],
  tunnel_stream_resumes_total: ['outcome'],
  tunnel_ssh_pool_connections: ['state'],
  tunnel_ssh_connect_ms: [],
  tunnel_rate_limited_total: ['scope', 'tier'],
  tunnel_auth_failures_total: ['code'],
  tunnel_heartbeat_rtt_ms: [],
  tunnel_link_send_buffer_bytes: [],
}

async function start(t: TestContext, options: MetricsOptions = { access: 'loopback' }) {
  const app = Fastify()
  t.after(() => app.close())
  await registerGround(t, app)
  await registerAuth(app)
  await app.register(metricsOfRoutes)
  await app.register(errors)
  await app.register(metricsRoute, { behindProxy: false, ...options })
  app.get('/machines/:machine', async () => 'yes')
  await app.ready()
  return app
}

test('every metric of the contract is there under its name and with exactly its labels', async (t) => {
  const app = await start(t)
  const its = app.tunnelMetrics
  its.requests.inc({ kind: 'http', outcome: 'ok' })
  its.requestLatencyMs.observe({ kind: 'http' }, 12)
  its.activeConnections.inc({ role: 'agent' })
  its.countError(new TunnelError('AGENT_LOST', 'gone', { hop: 'proxy' }))
  its.queueSize.set({ priority: 'high' }, 3)
  its.circuits.set({ state: 'open' }, 1)
  its.bytes.inc({ direction: 'in', mode: 'sealed' }, 4_096)
  its.streams.inc({ kind: 'ssh', state: 'open' })
  its.streamResumes.inc({ outcome: 'ok' })
  its.poolConnections.set({ state: 'idle' }, 2)
  its.sshConnectMs.observe({}, 120)
  its.rateLimited.inc({ scope: 'ip', tier: 'none' })
  its.authFailures.inc({ code: 'TOKEN_EXPIRED' })
  its.heartbeatRttMs.observe({}, 7)
  its.linkSendBufferBytes.set({}, 65_536)

  const answer = await app.inject('/api/tunnel/metrics')
  assert.equal(answer.statusCode, 200)
  assert.match(String(answer.headers['content-type']), /^text\/plain; version=0\.0\.4/)
  for (const [name, labels] of Object.entries(CONTRACT)) {
    const sample = answer.body.split('\n').find((line) => new RegExp(`^${name}(_count)?[ {]`).test(line))
    assert.ok(sample, `${name} has no sample`)
    const found = [...sample.matchAll(/([a-z_]+)="/g)].map(([, label]) => label)
    assert.deepEqual(found.sort(), [...labels].sort(), sample)
  }
  assert.match(answer.body, /^tunnel_bytes_total\{direction="in",mode="sealed"\} 4096$/m)
  assert.match(answer.body, /^tunnel_link_send_buffer_bytes 65536$/m)
  assert.match(answer.body, /^process_cpu_seconds_total /m)
})

test('requests are timed by route and not by path, so that names of machines make no series', async (t) => {
  const app = await start(t)
  await app.inject('/machines/home')
  await app.inject('/machines/office')
  await app.inject('/nowhere/secret')
  const text = await app.tunnelMetrics.read()
  assert.match(
    text,
    /^http_request_duration_seconds_count\{method="GET",route="\/machines\/:machine",status_code="200"\} 2$/m,
  )
  assert.doesNotMatch(text, /home|office|secret/)
})

test('docs/OPERATIONS.md has every metric with its type and labels, and no other', async (t) => {
  const proxy = await startProxy(t)
  await proxy.api(undefined, 'health')
  const text = await readFile(new URL('../../../docs/OPERATIONS.md', import.meta.url), 'utf8')
  const rows = [...text.matchAll(/^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?) ?\| .+ \|$/gm)]
  const documented = rows.map(([, name = '', type, labels = '']) => [
    ...[name.replace(/_total$/, ''), type],
    ...[...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label).sort(),
  ])
  const { registry } = proxy.app.tunnelMetrics
  const there = (await registry.getMetricsAsJSON()).map(({ name, type }) => {
    const { labelNames = [] } = registry.getSingleMetric(name) as { labelNames?: string[] }
    return [name.replace(/_total$/, ''), type, ...[...labelNames].sort()]
  })
  assert.deepEqual(documented.sort(), there.sort())
})

test('promtool has nothing to say of our metrics but that the older names are in milliseconds', {
  skip: requireSystem('promtool'),
}, async (t) => {
  const app = await start(t)
  app.tunnelMetrics.requestLatencyMs.observe({ kind: 'http' }, 12)
  app.tunnelMetrics.countError(new TunnelError('AGENT_LOST', 'gone', { hop: 'proxy' }))
  const { stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: await app.tunnelMetrics.read(),
    encoding: 'utf8',
  })
  const said = `${stdout}${stderr}`.split('\n').filter((line) => line !== '' && !line.startsWith('nodejs_'))
  assert.deepEqual(said.sort(), [
    'tunnel_heartbeat_rtt_ms metric names should not contain abbreviated units',
    'tunnel_request_latency_ms metric names should not contain abbreviated units',
    'tunnel_ssh_connect_ms metric names should not contain abbreviated units',
  ])
})

test('no label grows with users or machines', async (t) => {
  const proxy = await startProxy(t)
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const use = async (user: string, machine: string) => {
    await proxy.startAgent(machine, user, echo)
    const tunnel = await proxy.connect(user)
    const stream = await tunnel.open({ machine, kind: 'ssh' })
    stream.end(user)
    await readAll(stream)
    await assert.rejects(tunnel.open({ machine: `${machine}-not`, kind: 'ssh' }), { code: 'MACHINE_UNKNOWN' })
    await proxy.api(user, `machines/${machine}`)
    await proxy.api(user, `machines/${machine}-not`)
  }
  const series = async () => {
    const text = await proxy.app.tunnelMetrics.read()
    const own = text.split('\n').filter((line) => /^(tunnel|http)_/.test(line))
    return [...new Set(own.map((line) => line.slice(0, line.lastIndexOf(' '))))].sort()
  }
  await use('user-0', 'machine-0')
  await until(async () => (await series()).includes('tunnel_requests_total{kind="ssh",outcome="ok"}'))
  const before = await series()
  await Promise.all(['1', '2', '3', '4'].map((n) => use(`user-${n}`, `machine-${n}`)))
  const after = await series()
  assert.deepEqual(after, before)
  assert.doesNotMatch(after.join(), /user-|machine-/)
})

test('two servers of one process do not see each other', async (t) => {
  const [one, other] = await Promise.all([start(t), start(t)])
  one.tunnelMetrics.authFailures.inc({ code: 'TOKEN_INVALID' })
  assert.match(await one.tunnelMetrics.read(), /^tunnel_auth_failures_total\{code="TOKEN_INVALID"\} 1$/m)
  assert.doesNotMatch(await other.tunnelMetrics.read(), /^tunnel_auth_failures_total\{/m)
  assert.match(await other.tunnelMetrics.read(), /^process_cpu_seconds_total /m)
})

test('a level that is sampled is read at the moment of reading', async (t) => {
  const app = await start(t)
  let connections = 1
  app.tunnelMetrics.onRead(() => app.tunnelMetrics.poolConnections.set({ state: 'busy' }, connections))
  assert.match(await app.tunnelMetrics.read(), /^tunnel_ssh_pool_connections\{state="busy"\} 1$/m)
  connections = 3
  assert.match(await app.tunnelMetrics.read(), /^tunnel_ssh_pool_connections\{state="busy"\} 3$/m)
})

test('every exposed name occurs once: Prometheus refuses a text that declares a metric twice', async (t) => {
  const app = await start(t)
  const declared = [...(await app.tunnelMetrics.read()).matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)
  assert.ok(declared.length > 20)
  assert.equal(new Set(declared).size, declared.length)
})

const TOKEN = 'a-token-for-prometheus'

function refusalOf(options: MetricsOptions, remoteAddress: string, headers: Record<string, string> = {}) {
  try {
    const given = { host: 'localhost:3001', ...headers }
    checkReader({ behindProxy: false, ...options }, { remoteAddress, headers: given })
    return undefined
  } catch (error) {
    return (error as TunnelError).code
  }
}

test('this machine reads without a token, another needs one, unless anyone may', () => {
  const closed: MetricsOptions = { access: 'loopback' }
  const open: MetricsOptions = { access: 'any' }
  const keyed: MetricsOptions = { access: 'loopback', token: TOKEN }
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) {
    assert.equal(refusalOf(closed, address), undefined)
  }
  for (const address of ['10.0.0.1', '128.0.0.1', '::ffff:10.0.0.1', '::2', '1127.0.0.1', '']) {
    assert.equal(refusalOf(closed, address), 'TOKEN_MISSING', address)
    assert.equal(refusalOf(open, address), undefined)
    assert.equal(refusalOf(keyed, address, { authorization: `Bearer ${TOKEN}` }), undefined)
    assert.equal(refusalOf(keyed, address, { authorization: `Bearer ${TOKEN}x` }), 'TOKEN_INVALID')
    assert.equal(refusalOf(keyed, address, { authorization: `Basic ${TOKEN}` }), 'TOKEN_INVALID')
    assert.equal(refusalOf(closed, address, { authorization: 'Bearer undefined' }), 'TOKEN_INVALID')
  }
})

test('a page whose name was made to lead to this machine is not on it', () => {
  for (const host of ['localhost', 'LOCALHOST:3001', '127.0.0.1:3001', '[::1]:3001'])
    assert.equal(refusalOf({ access: 'loopback' }, '127.0.0.1', { host }), undefined, host)
  for (const host of ['evil.example', '127.0.0.1.evil.example', 'localhost.evil.example:3001', ''])
    assert.equal(refusalOf({ access: 'loopback' }, '127.0.0.1', { host }), 'TOKEN_MISSING', host)
})

/** What a reader of OpenMetrics 1.0 insists on, beyond what Prometheus' own format asks. */
function checkOpenMetrics(text: string): void {
  const lines = text.split('\n')
  assert.deepEqual(lines.slice(-2), ['# EOF', ''])
  const types = new Map<string, string>()
  for (const line of lines.slice(0, -2)) {
    const [, name = '', type = ''] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
    if (name !== '') {
      assert.equal(types.has(name), false, `${name} is there twice`)
      assert.ok(type !== 'counter' || !name.endsWith('_total'), line)
      types.set(name, type)
    } else assert.match(line, /^(# HELP \S+ .+|[a-z_][a-z0-9_]*(\{[^}]*\})? \S+)$/i)
  }
  for (const [name, type] of types) {
    if (type !== 'counter') continue
    const samples = lines.filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    assert.deepEqual(samples, [], `${name} has a sample without _total`)
  }
}

test('who accepts OpenMetrics reads OpenMetrics, and everybody else the text that Prometheus has always read', async (t) => {
  const app = await start(t)
  app.tunnelMetrics.requests.inc({ kind: 'http', outcome: 'ok' })
  app.tunnelMetrics.sshConnectMs.observe({}, 250)
  await app.inject('/machines/x')
  const read = async (accept?: string) => {
    const headers = accept === undefined ? {} : { accept }
    const { body, headers: answer } = await app.inject({ url: '/api/tunnel/metrics', headers })
    return { body, type: String(answer['content-type']) }
  }
  const prometheus =
    'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1'
  for (const accept of ['application/openmetrics-text', prometheus]) {
    const { body, type } = await read(accept)
    assert.match(type, /^application\/openmetrics-text; version=1\.0\.0; charset=utf-8$/)
    checkOpenMetrics(body)
    assert.match(body, /^# TYPE tunnel_requests counter$/m)
    assert.match(body, /^tunnel_requests_total\{kind="http",outcome="ok"\} 1$/m)
    assert.match(body, /^tunnel_ssh_connect_seconds_sum 0\.25$/m)
  }
  for (const accept of [
    undefined,
    '*/*',
    'text/plain',
    'text/html',
    'application/openmetrics-text;q=0, */*',
  ]) {
    const { body, type } = await read(accept)
    assert.match(type, /^text\/plain; version=0\.0\.4/)
    assert.match(body, /^# TYPE tunnel_requests_total counter$/m)
    assert.match(body, /^tunnel_ssh_connect_ms_sum 250$/m)
    assert.doesNotMatch(body, /# EOF/)
  }
})

test('behind a reverse proxy nobody is on this machine, whatever headers it adds', () => {
  const refused = () =>
    checkReader({ access: 'loopback', behindProxy: true }, { remoteAddress: '127.0.0.1', headers: {} })
  assert.throws(refused, { code: 'TOKEN_MISSING' })
})

test('who comes through a reverse proxy on this machine is not on this machine', async (t) => {
  const app = await start(t)
  for (const header of ['x-forwarded-for', 'forwarded', 'x-real-ip', 'via']) {
    const answer = await app.inject({ url: '/api/tunnel/metrics', headers: { [header]: '127.0.0.1' } })
    assert.equal(answer.statusCode, 401, header)
    assert.equal(answer.json<{ code: string }>().code, 'TOKEN_MISSING')
  }
  const far = await app.inject({ url: '/api/tunnel/metrics', remoteAddress: '203.0.113.9' })
  assert.equal(far.statusCode, 401)
})

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

/** The samples of a metric, as `label="value",…` to number; `{}` where it has no labels. */
async function samples({ app }: TestProxy, name: string): Promise<Record<string, number>> {
  const text = await app.tunnelMetrics.read()
  const lines = [...text.matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)$`, 'gm'))]
  return Object.fromEntries(lines.map(([, labels = '', value]) => [labels, Number(value)]))
}

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
