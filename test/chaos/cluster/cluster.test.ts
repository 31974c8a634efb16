import assert from 'node:assert/strict'
import test from 'node:test'
import { requireSystem } from '../../support/system.ts'
import { startRoundRobin } from './balancer.ts'
import { CLUSTER_FAULTS } from './faults.ts'
import { beyond, clusterRows } from './rows.ts'

test('the short form of npm run chaos -- cluster: whatever happens to replicas and Redis, nobody notices', {
  skip: requireSystem('sshd', 'ssh', 'scp', 'rsync', 'redis-server'),
}, async (t) => {
  const rows = clusterRows(t, {
    faults: CLUSTER_FAULTS,
    balancer: await startRoundRobin(t),
    ...{ short: true, random: 1, seed: '1', signal: t.signal },
    ...{ ssh: 4, scp: 1, rsync: 1, gapMs: 50, openEveryMs: 250 },
    ...{ copyBytes: 3 * 1_048_576, bytesPerSecond: 262_144 },
  })
  let equal = 0
  for await (const row of rows) {
    const { p50, p95, max } = row.gapMs
    const gaps = `gaps p50 ${Math.round(p50)}, p95 ${Math.round(p95)}, at most ${Math.round(max)} ms`
    t.diagnostic(
      `${row.fault}: ${gaps}, ${row.equal} copies equal, ${row.opens} new streams, ${row.seconds} s`,
    )
    equal += row.equal
    assert.deepEqual(row.faults, [], row.fault)
    // Other tests run beside this one: by times `npm run chaos -- cluster` alone judges.
    for (const text of row.beyond) t.diagnostic(`${row.fault}: ${text}`)
  }
  assert.ok(equal >= 2)
})

test('a row is within its bounds by what it took above the quiet row of the same run', () => {
  const measured = (ms: number, slowestOpenMs: number) => ({
    gapMs: { p50: ms, p95: ms, p99: ms, max: ms },
    slowestOpenMs,
  })
  const bound = { p99: 250, open: 3_000 }
  assert.deepEqual(beyond(bound, measured(330, 3_100), measured(80, 200)), [])
  assert.deepEqual(beyond(bound, measured(331, 3_300), measured(80, 200)), [
    'p99 331 ms, promised 250 above the 80 of the quiet row',
    'open 3300 ms, promised 3000 above the 200 of the quiet row',
  ])
  assert.deepEqual(beyond(bound, measured(251, 0), undefined), ['p99 251 ms, promised 250'])
  assert.deepEqual(beyond({}, measured(9_999, 9_999), undefined), [])
})
