import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { hasCode, type Lease, routeTo, setUp, turn } from './rig.ts'

test('a user makes one handshake with a machine at a time, and with another machine beside it', async (t) => {
  const { connecting, acquire } = setUp(t, { channelsPerConnection: 1 }, true)
  const leases = [acquire(), acquire(), acquire('office')]
  await turn()
  assert.deepEqual(
    connecting.map(({ request }) => request.route.name),
    ['home', 'office'],
  )
  for (const { done } of [...connecting]) done()
  await turn()
  assert.equal(connecting.length, 3)
  connecting[2]!.done()
  await Promise.all(leases)
})

test('an old connection serves until another is there, and closes with its last channel', async (t) => {
  const { pool, connecting, acquire, tick } = setUp(t, { maxAgeMs: 1_000 }, true)
  const asked = [acquire(), acquire()]
  await turn()
  const old = connecting[0]!.done()
  const [shell, spare] = (await Promise.all(asked)) as [Lease, Lease]
  await tick(1_000)
  await turn()
  assert.equal(connecting.length, 2)
  const meanwhile = await acquire()
  assert.equal(meanwhile.connection, old)
  meanwhile.release()
  const report = pool.connections('ada').map(({ state, channels, isOld }) => [state, channels, isOld])
  assert.deepEqual(report, [
    ['busy', 2, true],
    ['connecting', 0, false],
  ])

  let takenBack = 0
  spare.offer(() => {
    takenBack++
    spare.release()
  })
  assert.equal(takenBack, 0)
  const fresh = connecting[1]!.done()
  await turn()
  // What was kept for speed alone is not any more.
  assert.equal(takenBack, 1)
  assert.equal((await acquire()).connection, fresh)
  assert.equal(old.closed, false)
  shell.release()
  assert.equal(old.closed, true)
  assert.equal(fresh.closed, false)
})

test('an old connection that is idle closes, and one that nothing can replace serves on', async (t) => {
  const { made, acquire, tick } = setUp(t, { maxAgeMs: 1_000, maxPerUser: 1 })
  const lease = await acquire()
  await tick(1_000)
  const second = await acquire()
  assert.equal(made.length, 1)
  lease.release()
  assert.equal(made[0]!.closed, false)
  second.release()
  assert.equal(made[0]!.closed, true)
  ;(await acquire()).release()
  await tick(1_000)
  assert.deepEqual(
    made.map(({ closed }) => closed),
    [true, true],
  )
})

test('the loss of the last connection to a machine is told, and neither of those before nor of one that was ended', async (t) => {
  const lost: unknown[] = []
  const watch = {
    lost: ({ userId, route }: { userId: string; route: { name: string } }, { code }: TunnelError) =>
      lost.push([userId, route.name, code]),
  }
  const { pool, made, acquire } = setUp(t, { channelsPerConnection: 1 }, false, watch)
  await Promise.all([acquire(), acquire(), acquire('office')])
  assert.equal(made.length, 3)
  const [first, second] = made.filter(({ machine }) => machine === 'home')
  first!.die()
  assert.deepEqual(lost, [])
  second!.die()
  assert.deepEqual(lost, [['ada', 'home', 'AGENT_LOST']])
  pool.endMachine('ada', 'office', new TunnelError('MACHINE_UNKNOWN', 'forgotten', { hop: 'proxy' }))
  assert.equal(lost.length, 1)
})

test('a connection on which a channel is not answered in time is asked whether it is there', async (t) => {
  const { pool, made } = setUp(t)
  const open = (code: 'TIMEOUT' | 'CONNECT_REFUSED') =>
    pool.open({ userId: 'ada', route: routeTo('home') }, () =>
      Promise.reject(new TunnelError(code, 'no', { hop: 'target' })),
    )
  await assert.rejects(open('CONNECT_REFUSED'), hasCode('CONNECT_REFUSED'))
  assert.equal(made[0]!.probes, 0)
  await assert.rejects(open('TIMEOUT'), hasCode('TIMEOUT'))
  assert.equal(made[0]!.probes, 1)
})

test('what waits is told by machine', async (t) => {
  const { pool, acquire } = setUp(t, { channelsPerConnection: 1, maxPerUser: 1 })
  const lease = await acquire()
  const waiting = acquire('office')
  assert.deepEqual(pool.waits(), [{ user: 'ada', machine: 'office', owner: 'ada', requests: 1 }])
  lease.release()
  await waiting
  assert.deepEqual(pool.waits(), [])
})
