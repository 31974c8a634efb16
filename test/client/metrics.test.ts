import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DDSketch } from '@datadog/sketches-js'
import { ACCURACY, Histogram } from '../../client/metrics/histogram.ts'
import { MetricsCollector } from '../../client/metrics/prometheus.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { Random } from '../support/seeded-random.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

function collector() {
  const clock = new VirtualClock()
  return { clock, metrics: new MetricsCollector(clock, () => 1_000_000 + clock.now()) }
}
const late = () => new TunnelError('TIMEOUT', 'late', { hop: 'target' })
const near = (value: number, wanted: number) =>
  assert.ok(Math.abs(value - wanted) <= ACCURACY * wanted + 1e-9, `${value} is not near ${wanted}`)

test('quantiles are as right as those of DDSketch, for any spread of durations', () => {
  const generator = new Random(7)
  const random = () => generator.next()
  const spreads: (() => number)[] = [
    () => 1 + random() * 99,
    () => 10 * Math.exp(6 * random()),
    () => (random() < 0.98 ? 3 : 45_000),
    () => 7,
    () => random() * 0.01,
  ]
  for (const draw of spreads) {
    const ours = new Histogram()
    const theirs = new DDSketch({ relativeAccuracy: ACCURACY })
    const all = Array.from({ length: 5_000 }, draw).sort((a, b) => a - b)
    for (const ms of all) {
      ours.record(ms)
      theirs.accept(ms)
    }
    for (const share of [0, 0.5, 0.95, 0.99, 0.999, 1]) {
      const exact = all[Math.floor(share * (all.length - 1))]!
      // Below a tenth of a millisecond a duration is none to anybody.
      if (exact < 0.1) assert.ok(ours.quantile(share) <= 0.1)
      else {
        near(ours.quantile(share), exact)
        assert.ok(Math.abs(theirs.getValueAtQuantile(share) - ours.quantile(share)) <= 2.1 * ACCURACY * exact)
      }
    }
  }
})

test('latency, throughput and quality are of a sliding window, and totals of the whole life', async () => {
  const { clock, metrics } = collector()
  metrics.connected()
  for (let ms = 1; ms <= 100; ms++) metrics.answered(ms)
  for (let count = 0; count < 25; count++) metrics.failed(late())
  metrics.failed(new TunnelError('ABORTED', 'called off', { hop: 'client' }))
  metrics.traffic.sentBytes += 30_000
  await clock.run(clock.now() + 100_000)
  const first = metrics.snapshot()
  near(first.latency.average, 50.5)
  near(first.latency.p50, 50)
  near(first.latency.p95, 95)
  near(first.latency.p99, 99)
  assert.deepEqual([first.requests, first.failures, first.aborted, first.successRate], [125, 25, 1, 0.8])
  assert.deepEqual([first.throughput.requests, first.throughput.sentBytes], [1.25, 300])
  assert.equal(first.errors.network, 25)
  assert.equal(first.quality, 'fair')

  await clock.run(clock.now() + 250_000)
  metrics.answered(9)
  const { latency, requests, throughput, quality } = metrics.snapshot()
  assert.deepEqual(latency, { average: 9, p50: 9, p95: 9, p99: 9 })
  assert.deepEqual([requests, throughput.requests, quality], [126, 1 / 300, 'excellent'])
})

test('what is kept does not grow: neither with requests nor with time', async () => {
  const { clock, metrics } = collector()
  for (let slice = 0; slice < 1_000; slice++) {
    for (let count = 0; count < 50; count++) metrics.answered(count)
    await clock.run(clock.now() + 10_000)
  }
  const kept = JSON.stringify(metrics)
  assert.ok(kept.length < 100_000, `${kept.length} bytes`)
  const history = metrics.history()
  assert.ok(history.length <= 361 && history.length >= 360, `${history.length} points`)
  // In order, at the time of day, with what happened in each ten seconds.
  assert.ok(history.every(({ atMs }, index) => index === 0 || atMs - history[index - 1]!.atMs === 10_000))
  assert.deepEqual([history.at(-2)?.answered, history.at(-2)?.atMs], [50, 1_000_000 + 9_990_000])
})

test('quality is the worst of round trip, jitter, failures and losses', async () => {
  const { clock, metrics } = collector()
  const quality = () => metrics.snapshot().quality
  assert.equal(quality(), 'offline')
  metrics.connected()
  metrics.rtt(20)
  assert.equal(quality(), 'excellent')
  for (const [rttMs, name] of [
    [100, 'good'],
    [300, 'fair'],
    [900, 'poor'],
  ] as const) {
    const { metrics: other } = collector()
    other.connected()
    other.rtt(rttMs)
    assert.equal(other.snapshot().quality, name)
  }
  for (let count = 0; count < 100; count++) metrics.rtt(count % 2 === 0 ? 5 : 45)
  assert.ok(Math.abs(metrics.snapshot().heartbeat!.jitterMs - 40) < 1)
  assert.equal(quality(), 'good')
  metrics.lost()
  assert.equal(quality(), 'offline')
  metrics.connected()
  assert.equal(quality(), 'poor')
  await clock.run(clock.now() + 31_000)
  assert.equal(quality(), 'fair')
  await clock.run(clock.now() + 90_000)
  assert.equal(quality(), 'good')
  assert.equal(metrics.snapshot().reconnects, 1)
})

test('who subscribes is told of changes, bounded in number, and of nothing else', async () => {
  const { clock, metrics } = collector()
  const seen: number[] = []
  const end = metrics.subscribe(({ requests }) => seen.push(requests), 500)
  await clock.run(clock.now() + 5_000)
  assert.deepEqual(seen, [])
  for (let count = 0; count < 1_000; count++) metrics.answered(1)
  await clock.run(clock.now() + 600)
  assert.deepEqual(seen, [1_000])
  metrics.answered(1)
  end()
  await clock.run(clock.now() + 5_000)
  assert.deepEqual(seen, [1_000])
})

test('the text for Prometheus has every number with its help, type and one line for each label', () => {
  const { metrics } = collector()
  metrics.watchQueue(() => ({ high: 1, normal: 2, low: 3 }))
  metrics.connected()
  metrics.answered(12)
  metrics.failed(late())
  metrics.rtt(8)
  const lines = metrics.toPrometheus().trimEnd().split('\n')
  for (const line of lines)
    assert.match(
      line,
      /^# (HELP|TYPE) tunnel_client_\w+ .+$|^tunnel_client_\w+(\{\w+="[\w.]+"\})? -?[\d.e+-]+$/,
    )
  for (const line of [
    'tunnel_client_requests_total{outcome="ok"} 1',
    'tunnel_client_requests_total{outcome="failed"} 1',
    'tunnel_client_request_latency_ms{quantile="0.95"} 12',
    'tunnel_client_request_latency_ms_sum 12',
    'tunnel_client_request_latency_ms_count 1',
    'tunnel_client_errors_total{category="network"} 1',
    'tunnel_client_queue_size{priority="low"} 3',
    'tunnel_client_heartbeat_rtt_ms 8',
    'tunnel_client_quality{quality="excellent"} 1',
  ])
    assert.ok(lines.includes(line), line)
  const types = lines.filter((line) => line.startsWith('# TYPE')).map((line) => line.split(' ')[2])
  assert.equal(new Set(types).size, types.length)
})
