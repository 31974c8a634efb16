import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { EVENTS, SPANS } from '../../../plugins/tracing/spans.ts'
import { Collector, type ReceivedSpan } from '../../support/otlp.ts'
import { startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { startRedis } from '../../support/redis.ts'
import { requireSystem } from '../../support/system.ts'
import { startScene } from './scene.ts'

/** Cuts the link of the client, and waits until a stream is there again. */
async function cutAndResume(proxy: TestProxy): Promise<void> {
  const links = () => proxy.app.links.list('alice').filter(({ role }) => role === 'client')
  const before = new Set(links().map(({ connectionId }) => connectionId))
  proxy.cut('client')
  // What an earlier stream has still to say comes over the new link too, and counts as a resume.
  await until(() => {
    const now = links()
    const isNew = now.length > 0 && now.every(({ connectionId }) => !before.has(connectionId))
    return isNew && proxy.app.forward.overview.list('alice').every(({ state }) => state === 'open')
  })
}

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const CALLER = 'b7ad6b7169203331'
const STATE = 'congo=t61rcWkgMzE,rojo=00f067aa0ba902b7'
const GIVEN = { traceparent: `00-${TRACE}-${CALLER}-01`, tracestate: STATE }
const ROOT = { traceId: TRACE, spanId: CALLER }
/** What a stream that has to make its SSH connection is made of, and one that finds it. */
const FRESH = { admission: { policy: {} }, 'pool wait': { 'ssh connect': {} }, channel: {} }
const POOLED = { admission: { policy: {} }, 'pool wait': {}, channel: {} }
const GATEWAY = 'GET /api/tunnel/machines/:machine/http/:port/*'

for (const fastify of ['instrumentation', 'otel'] as const)
  test(`with ${fastify} a trace goes from its caller through routes and gateway to the service, and says nothing secret`, async (t) => {
    const { proxy, collector, port, asked, flush } = await startScene(t, { fastify })
    const token = proxy.tokenOf('alice')
    const headers = { ...GIVEN, authorization: `Bearer ${token}` }
    for (const path of [
      'machines?ticket=hunter2',
      `machines/home/http/${port}/x?y=hunter2`,
      'health',
      'none',
    ])
      await (await fetch(`${proxy.url}/api/tunnel/${path}`, { headers })).text()
    const link = await proxy.connect('alice')
    await (await link.fetch(`http://home:${port}/hunter2`, { headers: GIVEN })).text()
    const tcp = { machine: 'home', kind: 'tcp', target: `127.0.0.1:${port}`, ...GIVEN } as const
    await link.open(tcp).then((stream) => stream.destroy())
    // What says no valid trace says nothing of its state either (W3C Trace Context, section 3.3).
    const stray = { traceparent: GIVEN.traceparent.replace('00-', 'ff-'), tracestate: STATE }
    await (await link.fetch(`http://home:${port}/`, { headers: stray })).text()
    await link.disconnect()
    await until(() => proxy.log.filter(({ message }) => message === 'link closed').length > 0)
    await flush()
    assert.deepEqual(collector.treeOf(ROOT), {
      'GET /api/tunnel/machines': { handler: {} },
      [GATEWAY]: { 'stream http': FRESH },
      request: { handler: {} },
      // The connection was kept: nothing had to be opened for it.
      'stream http': { admission: { policy: {} } },
      'stream tcp': POOLED,
    })
    const spanOf = (name: string, parentId?: string): ReceivedSpan => {
      const found = collector.named(name).find((span) => parentId === undefined || span.parentId === parentId)
      assert.ok(found, name)
      return found
    }
    const [gateway, client] = [spanOf('stream http', spanOf(GATEWAY).spanId), spanOf('stream http', CALLER)]
    assert.deepEqual(
      asked.slice(0, 2),
      [gateway, client].map(({ spanId }) => [`00-${TRACE}-${spanId}-01`, STATE]),
    )
    assert.equal(asked[2]?.[1], undefined)
    for (const span of collector.spans) assert.equal(span.traceState, span.traceId === TRACE ? STATE : '')
    // A link is no parent: it has a trace of its own, and all are linked to it.
    const links = collector.named('link').filter(({ attributes: { role } }) => role === 'client')
    assert.deepEqual(
      client.links.map(({ spanId }) => spanId),
      links.map(({ spanId }) => spanId),
    )
    assert.ok(links.every(({ traceId, parentId }) => traceId !== TRACE && parentId === ''))
    const connect = spanOf('GET /api/tunnel/connect')
    assert.deepEqual(links[0]?.links, [{ traceId: connect.traceId, spanId: connect.spanId }])
    assert.equal(connect.attributes['http.response.status_code'], 101)
    assert.equal(client.attributes.connectionId, links[0]?.attributes.connectionId)
    assert.equal(client.attributes.userId, 'alice')
    assert.ok(Number(client.attributes.latencyMs) >= 0)
    assert.doesNotMatch(JSON.stringify(collector.spans), /hunter2|eyJ/)
    assert.deepEqual(new Set(collector.types), new Set(['application/x-protobuf']))
    // The log names the trace.
    const lines = proxy.log.filter(({ context }) => context?.traceId === TRACE)
    for (const message of ['request', 'stream open', 'stream over'])
      assert.ok(
        lines.some((line) => line.message === message),
        message,
      )
  })

test('of traces that nobody keeps, those with an error and those of a stream that was resumed are kept', async (t) => {
  const { proxy, collector, port, flush } = await startScene(t, { ratio: 0 })
  const client = await proxy.connect('alice')
  await (await client.fetch(`http://home:${port}/`)).text()
  await client.exec('home', ['true'])
  await assert.rejects(client.exec('nowhere', ['true']), { code: 'MACHINE_UNKNOWN' })
  await (await proxy.api('alice', 'machines')).text()
  await flush()
  const [failed, ...more] = collector.named('stream exec')
  assert.deepEqual(more, [])
  assert.equal(failed?.attributes.outcome, 'MACHINE_UNKNOWN')
  assert.equal(failed?.status, 2)
  assert.deepEqual(collector.treeOf(failed), { admission: {} })
  assert.deepEqual(collector.named('stream http'), [])
  assert.deepEqual(collector.named('GET /api/tunnel/machines'), [])

  for (const request of [{ kind: 'tcp', target: `127.0.0.1:${port}` }, { kind: 'ssh' }] as const) {
    const stream = await client.open({ machine: 'home', ...request })
    await cutAndResume(proxy)
    stream.destroy()
    await until(() => proxy.app.forward.overview.list('alice').length === 0)
    await flush()
    const [resumed, ...others] = collector.named(`stream ${request.kind}`)
    assert.ok(resumed)
    assert.deepEqual(others, [])
    assert.equal(resumed.attributes.resumes, 1)
    assert.deepEqual(
      resumed.events.map(({ name }) => name),
      ['suspended', 'resumed'],
    )
    assert.ok(Number(resumed.events[1]?.attributes.gapMs) >= 0)
    // What had ended before anybody knew is there too.
    assert.ok('admission' in collector.treeOf(resumed))
  }
  proxy.app.settings.patch({ tracing: { ratio: 1 } })
  await client.exec('home', ['true'])
  await flush()
  assert.ok(collector.named('stream exec').some(({ attributes }) => attributes.outcome === 'ok'))
})

test('what a route asks Redis and others for, and the spans of a plugin, are told below it', {
  skip: requireSystem('redis-server'),
}, async (t) => {
  const collector = await Collector.listen(t)
  const redis = await startRedis(t)
  const plugin = fp(
    async (app: FastifyInstance) => {
      app.get('/asks', { onRequest: [app.requireUser] }, () =>
        app.tracing.during('weighing', async () => {
          await app.state.volatile.put('test', 'hunter2', 'x', { ttlMs: 60_000 })
          return (await fetch(`${collector.url}`, { method: 'POST' })).status
        }),
      )
    },
    { name: 'asker', dependencies: ['tunnel-state', 'tunnel-tracing', 'tunnel-auth'] },
  )
  const tracing = ['exporter=otlp', `url=${collector.url}`].map((setting) => `tracing.${setting}`)
  const set = [...tracing, 'state.store=redis', `state.redisUrl=${redis.url}`]
  const proxy = await startProxy(t, { set, plugins: [plugin] })
  const headers = { ...GIVEN, authorization: `Bearer ${proxy.tokenOf('alice')}` }
  assert.equal(await (await fetch(`${proxy.url}/asks`, { headers })).text(), '200')
  await proxy.close()
  const below = collector.treeOf(ROOT)['GET /asks']?.handler?.weighing
  const names = Object.keys(below ?? {})
  assert.ok(names.includes('POST') && names.length === 2, names.join())
  assert.doesNotMatch(JSON.stringify(collector.spans), /hunter2/)
})

test('a collector that is away, silent or answers nonsense costs spans, which are counted and told of once', async (t) => {
  const { proxy, collector, flush } = await startScene(t)
  await flush()
  const ask = async (): Promise<void> => {
    assert.equal((await proxy.api('alice', 'machines')).status, 200)
    await flush()
  }
  const warnings = () =>
    proxy.log.filter(({ message }) => message.startsWith('the collector takes no traces'))
  const lost = async () => {
    const text = await (await fetch(`${proxy.url}/api/tunnel/metrics`)).text()
    return Number(/^tunnel_spans_total\{outcome="failed"\} (\d+)$/m.exec(text)?.[1] ?? 0)
  }
  collector.misbehaves = (_request, response) => response.writeHead(400).end('x'.repeat(1_000))
  await ask()
  await ask()
  assert.equal(warnings().length, 1)
  assert.equal(await lost(), 4)
  // No protobuf: what it says counts for nothing, and that it has taken them does.
  collector.misbehaves = (_request, response) => response.end('\xff\xff\xff garbage')
  await ask()
  assert.equal(proxy.log.filter(({ message }) => message === 'the collector takes traces again').length, 1)
  // Silent: a second, and no more, when the proxy closes.
  const requests: unknown[] = []
  collector.misbehaves = (request) => void requests.push(request)
  await ask()
  assert.equal(requests.length, 1)
  assert.equal((await proxy.api('alice', 'machines')).status, 200)
  await proxy.close()
})

test('spans, their attributes and the fields of the log are those that docs/OPERATIONS.md names, and no others', async (t) => {
  const document = readFileSync(new URL('../../../docs/OPERATIONS.md', import.meta.url), 'utf8')
  const rows = document
    .split('\n## Traces\n')[1]
    ?.split('\n## ', 1)[0]
    ?.split('\n')
    .filter((line) => /^\| `/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()))
  const named = rows?.map(([, name = '', , , attributes = '']) => [
    name.slice(1, -1),
    [...attributes.matchAll(/`([^`]+)`/g)].map(([, attribute]) => attribute),
  ])
  assert.deepEqual(Object.fromEntries(named ?? []), SPANS)
  for (const [name, attributes] of Object.entries(EVENTS))
    for (const word of [name, ...attributes]) assert.ok(document.includes(`\`${word}\``), word)

  const { proxy, collector, port, flush } = await startScene(t)
  const client = await proxy.connect('alice')
  await (await proxy.api('alice', 'machines')).text()
  await client.exec('home', ['true'])
  const stream = await client.open({ machine: 'home', kind: 'tcp', target: `127.0.0.1:${port}` })
  await cutAndResume(proxy)
  stream.destroy()
  await client.disconnect()
  await proxy.close()
  await flush()
  const sentence = /JSON lines with ([^.]*)\./.exec(document)?.[1] ?? ''
  const fields = [...sentence.matchAll(/`(\w+)`/g)].map(([, field]) => field)
  assert.deepEqual([...new Set(proxy.log.flatMap((line) => Object.keys(line)))].sort(), fields.sort())
  const told = new Map<string, Set<string>>()
  for (const { name, attributes, parentId, links } of collector.spans) {
    const isRequest = name === 'request' || /^[A-Z]+ \//.test(name)
    const known = isRequest ? 'request' : name.replace(/^stream .*/, 'stream')
    assert.ok(known in SPANS, name)
    const names = told.get(known) ?? new Set()
    told.set(known, names)
    for (const attribute of Object.keys(attributes)) names.add(attribute)
    assert.ok(known !== 'link' || (parentId === '' && links.length === 1))
  }
  for (const [name, attributes] of Object.entries(SPANS))
    assert.deepEqual([...(told.get(name) ?? [])].sort(), [...attributes].sort(), name)
})
