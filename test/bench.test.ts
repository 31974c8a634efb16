import assert from 'node:assert/strict'
import test from 'node:test'
import { SMALL_ANSWER } from '../bench/answer.ts'
import { runBench } from '../bench/measure.ts'
import { median, render, summarise } from '../bench/report.ts'
import { requireSystem } from './support/system.ts'

test('a benchmark reports every case with all its bytes and answers', {
  skip: requireSystem('sshd', 'ssh'),
}, async (t) => {
  const byteCount = 1_048_576
  const report = await runBench(t, { byteCount, requests: 64, connections: 8, rounds: 1 })
  for (const each of report.cases) {
    assert.equal(each.failures, 0, each.name)
    assert.ok(Number.isFinite(each.rate) && each.rate > 0, each.name)
    for (const sample of each.samples) {
      assert.equal(sample.byteCount, each.kind === 'bulk' ? byteCount : 64 * SMALL_ANSWER.length, each.name)
    }
    if (each.against !== undefined) assert.ok(Number.isFinite(each.ratio), each.name)
    assert.match(render(report), new RegExp(each.name))
  }
  const compared = report.cases.filter((each) => each.against !== undefined).map((each) => each.name)
  assert.deepEqual(compared.length, 7)
  assert.ok(report.peakResidentBytes.proxy! > 0)
})

test('ratios and CPU are in the units that the table names', () => {
  const sample = { seconds: 2, byteCount: 1_073_741_824, requests: 1, failures: 0, p50Ms: 0, p99Ms: 0 }
  const reference = summarise('a', 'bulk', [{ ...sample, cpuSeconds: { ssh: 1, sshd: 0.5 } }])
  const slower = summarise('b', 'bulk', [{ ...sample, seconds: 4, cpuSeconds: { ssh: 3 } }], reference)
  assert.deepEqual([reference.rate, reference.cpu], [512, 1.5])
  assert.deepEqual([slower.ratio, slower.cpuRatio, slower.against], [0.5, 2, 'a'])
  const small = summarise('c', 'small', [{ ...sample, requests: 1_000, cpuSeconds: { proxy: 0.1 } }])
  assert.deepEqual([small.rate, small.cpu, small.cpuByParty], [500, 100, { proxy: 100 }])
  assert.equal(median([4, 1, 3, 2]), 2.5)
})
