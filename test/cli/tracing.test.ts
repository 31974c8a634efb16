import assert from 'node:assert/strict'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Agent } from '../../agent/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import { signToken } from '../../plugins/auth/tokens.ts'
import { newKeyPair, startSshServer } from '../../testing/ssh-server.ts'
import { Collector } from '../support/otlp.ts'
import { run, spawnProgram } from '../support/process.ts'
import { until } from '../support/proxy.ts'
import { startService } from '../support/service.ts'
import { freePort } from '../support/system.ts'
import { BUILT_CLI } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated } from './tunnel.ts'

const PROGRAMS = join(import.meta.dirname, '..', 'plugins', 'tracing')
const SECRET = 'the secret of a test of traces'.padEnd(40, '.')
const ADMITTED = { admission: { policy: {} } }

test('one trace goes from a program with OpenTelemetry through the proxy as it is shipped, and into its log', async (t) => {
  const collector = await Collector.listen(t)
  const told: unknown[] = []
  const servicePort = await startService(t, ({ headers }, response) => {
    told.push([headers.traceparent, headers.tracestate])
    response.end('hello')
  })
  const env = isolated(await tempFolder(t, 'state'), {
    TUNNEL_JWT_SECRET: SECRET,
    TUNNEL_MASTER_SECRET: SECRET,
  })
  const port = String(await freePort())
  const settings = ['tracing.exporter=otlp', `tracing.url=${collector.url}`, 'log.level=info']
  const words = ['server', '--port', port, ...settings.flatMap((setting) => ['--set', setting])]
  const proxy = spawnProgram(t, process.execPath, [BUILT_CLI, ...words], { env })
  await proxy.line(/listening/i)
  const url = `http://127.0.0.1:${port}`
  const token = signToken(SECRET, { sub: 'alice', tier: 'enterprise', ttlSeconds: 600 })
  const key = await fetch(`${url}/api/tunnel/ssh/key`, { headers: { authorization: `Bearer ${token}` } })
  const { publicKey } = (await key.json()) as { publicKey: string }
  const sshServer = await startSshServer({
    hostKey: newKeyPair('host key').private,
    user: userInfo().username,
    authorizedKeys: () => publicKey,
  })
  t.after(() => sshServer.close())
  const ssh = `127.0.0.1:${sshServer.port}`
  const agent = new Agent({
    urls: [url],
    machine: 'home',
    token,
    ssh,
    settings: resolveSettings({}, 'default'),
  })
  t.after(() => agent.close())
  await agent.start()

  const asked = { url, token, collector: collector.url, port: servicePort }
  const caller = await run(process.execPath, [join(PROGRAMS, 'caller.mjs'), JSON.stringify(asked)], { env })
  assert.match(caller.stdout, /^MACHINE_UNKNOWN$/m, caller.stderr)

  // At run time: each signal turns the level.
  assert.doesNotMatch(proxy.stdout, /"level":"DEBUG"/)
  proxy.kill('SIGUSR2')
  await proxy.line(/changed by a signal/)
  await fetch(`${url}/api/tunnel/health`)
  await proxy.line(/"level":"DEBUG"/)
  proxy.kill('SIGUSR2')
  await until(() => proxy.stdout.split('changed by a signal').length === 3)
  const before = proxy.stdout.split('"level":"DEBUG"').length
  await fetch(`${url}/api/tunnel/health`)
  assert.equal((await fetch(`${url}/api/tunnel/machines`)).status, 401)
  await proxy.line(/TOKEN_MISSING|"status":401/)
  assert.equal(proxy.stdout.split('"level":"DEBUG"').length, before)

  await agent.close()
  proxy.kill('SIGTERM')
  assert.deepEqual(await proxy.exit, { code: 0, signal: null }, proxy.stderr)
  const [job] = collector.named('job')
  assert.ok(job)
  const tree = collector.treeOf(job)
  assert.deepEqual(tree['tunnel http'], {
    'stream http': { ...ADMITTED, 'pool wait': { 'ssh connect': {} }, channel: {} },
  })
  const execs = collector
    .named('stream exec')
    .map((span) => [span.attributes.outcome, collector.treeOf(span)])
  assert.deepEqual(execs, [
    ['ok', { ...ADMITTED, 'pool wait': {}, channel: {} }],
    ['MACHINE_UNKNOWN', { admission: {} }],
  ])
  const stream = collector.named('stream http')[0]
  assert.equal(stream?.service, 'ssh-websocket-tunnel')
  assert.deepEqual(told, [[`00-${job.traceId}-${stream?.spanId}-01`, 'vendor=of-the-job']])
  assert.ok(collector.named('handler').length > 0)
  for (const { traceId, traceState } of collector.named('stream exec'))
    assert.deepEqual([traceId, traceState], [job.traceId, 'vendor=of-the-job'])
  const lines = proxy.stdout.split('\n').filter((line) => line.includes(`"traceId":"${job.traceId}"`))
  assert.ok(lines.some((line) => line.includes('"stream over"')))
  assert.doesNotMatch(JSON.stringify(collector.spans), /hunter2/)
})

test('a proxy that traces nothing has loaded nothing for it', async (t) => {
  const folder = await tempFolder(t, 'state')
  const loadedWith = async (exporter: string): Promise<string[]> => {
    const words = [join(PROGRAMS, 'loaded.mjs'), join(folder, exporter), exporter]
    const { stdout, stderr } = await run(process.execPath, words, { env: isolated(folder) })
    assert.match(stdout, /^\[/, stderr)
    return JSON.parse(stdout) as string[]
  }
  // prom-client asks for the interface, which does nothing by itself.
  assert.deepEqual(await loadedWith('none'), ['@opentelemetry/api'])
  const traced = await loadedWith('otlp')
  assert.ok(traced.includes('@opentelemetry/instrumentation-fastify') && traced.length > 5, traced.join())
})
