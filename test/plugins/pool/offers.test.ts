import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Lease, settled, setUp, turn } from './rig.ts'

test('an offered lease is taken back when somebody waits', async (t) => {
  const { acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 2 })
  const [idle, kept] = [await acquire(), await acquire()]
  let takenBack = 0
  idle.offer(() => {
    takenBack++
    idle.release()
  })
  kept.offer(() => assert.fail('the offer was withdrawn'))
  kept.keep()
  await acquire()
  assert.equal(takenBack, 1)
})

test('an offer is taken when it comes after the wait has begun', async (t) => {
  const { acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 1 })
  const idle = await acquire()
  const waiting = acquire('office')
  idle.offer(() => idle.release())
  assert.equal((await waiting).connection.machine, 'office')
})

test('an idle channel is taken back before one whose opener is away, and that one only for who is there', async (t) => {
  const { acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 2 })
  const [away, idle] = [await acquire(), await acquire()]
  const taken: string[] = []
  const offer = (lease: Lease, reason: 'idle' | 'suspended'): void =>
    lease.offer(() => {
      taken.push(reason)
      lease.release()
    }, reason)
  offer(away, 'suspended')
  offer(idle, 'idle')
  await acquire()
  assert.deepEqual(taken, ['idle'])
  await acquire()
  assert.deepEqual(taken, ['idle', 'suspended'])
})

test('a lease that is given back later than asked counts as one, and no other is taken for it', async (t) => {
  const { acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 2 })
  const leases = [await acquire(), await acquire()]
  const asked: Lease[] = []
  for (const lease of leases) lease.offer(() => asked.push(lease), 'suspended')
  const third = acquire()
  await turn()
  assert.equal(asked.length, 1)
  asked[0]!.release()
  await third
  assert.equal(asked.length, 1)
})

test('offers of one machine are taken for another where they empty a place, and else left alone', async (t) => {
  const { made, acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 2 })
  const [spare, used] = [await acquire('a'), await acquire('a')]
  let taken = 0
  spare.offer(() => {
    taken++
    spare.release()
  })
  const other = acquire('b')
  assert.equal(await settled(other), false)
  assert.equal(taken, 0)
  used.release()
  assert.equal((await other).connection.machine, 'b')
  assert.deepEqual([taken, made[0]!.closed], [1, true])
})
