import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { listenTcp, readAll, startProxy, until } from '../../support/proxy.ts'
import { requireSystem } from '../../support/sshd.ts'
import { start } from './reading.ts'

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
