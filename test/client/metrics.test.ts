import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MetricsCollector } from '../../client/metrics.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'

function collector() {
  let nowMs = 0
  let rttMs = 20
  const clock = { now: () => nowMs, setTimer: () => undefined, clearTimer: () => undefined }
  const metrics = new MetricsCollector(clock, () => rttMs)
  return { metrics, pass: (ms: number) => (nowMs += ms), rtt: (ms: number) => (rttMs = ms) }
}

test('percentiles are of the last requests, and the success rate of all', () => {
  const { metrics } = collector()
  for (let latencyMs = 1; latencyMs <= 100; latencyMs++) metrics.answered(latencyMs)
  for (let index = 0; index < 25; index++)
    metrics.failed(new TunnelError('TIMEOUT', 'late', { hop: 'client' }))
  const { latency, successRate, requests, errors } = metrics.snapshot()
  assert.deepEqual(latency, { average: 50.5, p50: 50, p95: 95, p99: 99 })
  assert.equal(requests, 125)
  assert.equal(successRate, 0.8)
  assert.equal(errors.network, 25)
})

test('what is kept does not grow with the number of requests', () => {
  const { metrics } = collector()
  for (let index = 0; index < 5_000; index++) metrics.answered(1)
  for (let index = 0; index < 1_024; index++) metrics.answered(9)
  assert.equal(metrics.snapshot().latency.average, 9)
})

test('quality follows the link: its round trip, its loss, its absence', () => {
  const { metrics, pass, rtt } = collector()
  assert.equal(metrics.snapshot().quality, 'offline')
  metrics.connected()
  pass(1_000)
  assert.equal(metrics.snapshot().quality, 'good')
  assert.equal(metrics.snapshot().uptimeMs, 1_000)
  rtt(200)
  assert.equal(metrics.snapshot().quality, 'fair')
  rtt(900)
  assert.equal(metrics.snapshot().quality, 'poor')
  rtt(20)
  metrics.lost()
  assert.equal(metrics.snapshot().quality, 'offline')
  metrics.connected()
  assert.equal(metrics.snapshot().quality, 'poor')
  assert.equal(metrics.snapshot().reconnects, 1)
  pass(60_000)
  assert.equal(metrics.snapshot().quality, 'good')
})
