import assert from 'node:assert/strict'
import test from 'node:test'
import { clusterText } from '../../cli/cluster-report.ts'

test('status --cluster draws who holds whom, which links are cut, who leaves, whose clock is wrong, and that Redis is away', () => {
  const replica = { software: 'x', load: 2, streams: 0, draining: false }
  const text = clusterText({
    id: 'a',
    ...{ isWorker: false, stateAvailable: false, isStarting: true, missing: ['d'], machineCount: 1_003 },
    replicas: [
      { ...replica, id: 'a', peers: ['c'] },
      { ...replica, id: 'b', rttMs: 0.2, draining: true, peers: ['c'], clockAheadMs: -601_000 },
      { ...replica, id: 'c', peers: ['a', 'b'], clockAheadMs: 7_200_000 },
    ],
    machines: [
      { owner: 'alice', name: 'home', epoch: 7, homes: ['b', 'c'], route: 'c' },
      { owner: 'bob', name: 'work', epoch: 0, homes: ['b'], route: 'b', via: 'c' },
    ],
  })
  const lines = text.split('\n').map((line) => line.replaceAll(/ {2,}/g, '  ').trim())
  assert.deepEqual(lines, [
    'replica a answers; Redis DOES NOT ANSWER it',
    'REPLICA  STATE  STREAMS  MACHINES  ROUND TRIP  LINKS TO',
    'a  there  2  0 or more  -  c; NONE TO b',
    'b  LEAVING  2  2 or more  1 ms  c; NONE TO a',
    'c  there  2  1 or more  ?  a b',
    'it has only started, and is not linked to all others yet',
    'd is known, and NOT LINKED to this one',
    'the clock of b is 10 min BEHIND this one: set both',
    'the clock of c is 2 h AHEAD OF this one: set both',
    '',
    'MACHINE  AT  FROM HERE BY  EPOCH',
    'alice/home  b c  c  7',
    'bob/work  b  b through c  -',
    'and 1001 more',
    '',
  ])
})
