import assert from 'node:assert/strict'
import test from 'node:test'
import { requireSystem } from '../../support/system.ts'
import { startRoundRobin } from './balancer.ts'
import { CLUSTER_FAULTS } from './faults.ts'
import { clusterRows } from './rows.ts'

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
  }
  assert.ok(equal >= 2)
})
