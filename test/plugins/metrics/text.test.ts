import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMetrics, createRegistry } from '../../../plugins/metrics/metrics.ts'
import { wantsOpenMetrics } from '../../../plugins/metrics/text.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'

async function read(format?: 'openmetrics'): Promise<string> {
  const metrics = createMetrics(createRegistry())
  metrics.requests.inc({ kind: 'http', outcome: 'ok' }, 3)
  for (const latencyMs of [1.5, 40, 2_500])
    metrics.requestLatencyMs.observe({ kind: 'http' }, latencyMs, latencyMs === 40 ? TRACE : undefined)
  metrics.sshConnectMs.observe({}, 120)
  metrics.heartbeatRttMs.observe({}, 20)
  return metrics.read(format)
}

test('what is measured in milliseconds is there in seconds too', async () => {
  const text = await read()
  for (const line of [
    '# TYPE tunnel_request_latency_ms histogram',
    '# TYPE tunnel_request_duration_seconds histogram',
    'tunnel_request_latency_ms_bucket{le="50",kind="http"} 2',
    'tunnel_request_duration_seconds_bucket{le="0.05",kind="http"} 2',
    'tunnel_request_duration_seconds_bucket{le="+Inf",kind="http"} 3',
    'tunnel_request_duration_seconds_sum{kind="http"} 2.5415',
    'tunnel_request_duration_seconds_count{kind="http"} 3',
    'tunnel_ssh_connect_seconds_sum 0.12',
    'tunnel_heartbeat_rtt_seconds_sum 0.02',
  ])
    assert.ok(text.split('\n').includes(line), line)
})

test('OpenMetrics has families without _total, samples with it, no empty line, and its end', async () => {
  const text = await read('openmetrics')
  const lines = text.split('\n')
  assert.deepEqual(lines.slice(-2), ['# EOF', ''])
  assert.ok(!lines.slice(0, -1).includes(''))
  assert.ok(lines.includes('# TYPE tunnel_requests counter'))
  assert.ok(lines.includes('tunnel_requests_total{kind="http",outcome="ok"} 3'))
  assert.ok(lines.includes('tunnel_request_latency_ms_bucket{le="50.0",kind="http"} 2'))
  assert.match(
    text,
    new RegExp(
      `^tunnel_request_duration_seconds_bucket\\{le="0.05",kind="http"\\} 2 # \\{trace_id="${TRACE}"\\} 0.04 `,
      'm',
    ),
  )
  assert.doesNotMatch(await read(), /trace_id|EOF/)
  const families = new Map<string, string>()
  for (const line of lines) {
    const [, name, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
    if (name === undefined) continue
    assert.ok(!families.has(name), `${name} is there twice`)
    families.set(name, type as string)
  }
  // Each sample belongs to the family above it, and a counter's ends in _total.
  let family = ''
  for (const line of lines) {
    family = /^# (?:HELP|TYPE) (\S+)/.exec(line)?.[1] ?? family
    const sample = /^([a-z]\w*)/i.exec(line)?.[1]
    if (sample === undefined) continue
    const suffix = sample.slice(family.length)
    const allowed: Record<string, RegExp> = {
      counter: /^_total$/,
      histogram: /^_(bucket|sum|count)$/,
      gauge: /^$/,
    }
    assert.ok(sample.startsWith(family), `${sample} under ${family}`)
    assert.match(suffix, allowed[families.get(family) ?? ''] ?? /^(_sum|_count)?$/, line)
  }
})

for (const [accept, wants] of [
  [undefined, false],
  ['*/*', false],
  ['text/plain', false],
  ['application/openmetrics-text', true],
  ['application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1', true],
  ['application/openmetrics-text;q=0.2, text/plain;q=0.3', false],
  ['application/openmetrics-text;q=0', false],
] as const) {
  test(`with Accept: ${accept} a scraper ${wants ? 'wants' : 'does not want'} OpenMetrics`, () => {
    assert.equal(wantsOpenMetrics(accept), wants)
  })
}
