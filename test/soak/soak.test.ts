import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { Agent } from '../../agent/index.ts'
import { TunnelService } from '../../client/index.ts'
import { HttpExchange } from '../../plugins/forward/http/exchange.ts'
import { Passage } from '../../plugins/forward/passage.ts'
import { SSHConnection } from '../../plugins/ssh/connection.ts'
import { Link } from '../../protocol/link/link.ts'
import { RelayLeg } from '../../protocol/stream/relay-leg.ts'
import { StreamSeat } from '../../protocol/stream/seat.ts'
import { TunnelStream } from '../../protocol/stream/stream.ts'
import { Soak } from './soak.ts'

/** Each user has several of each. `npm run soak` compares all classes, and the heap, over many more users. */
const OF_USERS = [
  ...[Agent, TunnelService, Link, WebSocket, Passage, TunnelStream, StreamSeat, RelayLeg],
  ...[HttpExchange, SSHConnection],
]
const USERS = 8

test('when users have come, been cut off, and left, in order or not, nothing of them is left', {
  skip: process.platform === 'linux' ? undefined : 'needs /proc',
}, async (t) => {
  const soak = await Soak.start(t)
  await soak.live(USERS / 2)
  await soak.live(USERS / 2)
  const { descriptors, objects } = await soak.held()
  t.diagnostic(JSON.stringify(soak.deeds))
  const left = OF_USERS.map(({ name }) => [name, objects.get(name) ?? 0] as const)
  assert.deepEqual(
    left.filter(([, count]) => count >= USERS),
    [],
    'objects that outlive their users',
  )
  assert.ok(descriptors < soak.idleDescriptors + USERS, `${soak.idleDescriptors} → ${descriptors}`)
})
