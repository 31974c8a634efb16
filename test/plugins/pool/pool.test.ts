import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import type { Priority } from '../../../protocol/codec/heads.ts'
import { hasCode, routeTo, settled, setUp, turn } from './rig.ts'

test('channels to one machine share a connection, then the least loaded one', async (t) => {
  const { made, acquire } = setUp(t, { channelsPerConnection: 2 })
  const leases = await Promise.all([acquire(), acquire(), acquire(), acquire()])
  assert.equal(made.length, 2)
  leases[0]!.release()
  const fifth = await acquire()
  assert.equal(fifth.connection, leases[0]!.connection)
  assert.equal(made.length, 2)
})

test('several who wait share one attempt to connect', async (t) => {
  const { connecting, acquire } = setUp(t, {}, true)
  const all = Promise.all(Array.from({ length: 10 }, () => acquire()))
  await turn()
  assert.equal(connecting.length, 1)
  connecting[0]!.done()
  await all
})

test('an attempt that fails fails all who counted on it', async (t) => {
  const { connecting, acquire } = setUp(t, {}, true)
  const all = [acquire(), acquire(), acquire()]
  await turn()
  connecting[0]!.fail(new TunnelError('MACHINE_OFFLINE', 'off line', { hop: 'proxy' }))
  for (const one of all) await assert.rejects(one, hasCode('MACHINE_OFFLINE'))
  const next = acquire()
  await turn()
  assert.equal(connecting.length, 2)
  connecting[1]!.done()
  await next
})

test('a user never has more connections than maxPerUser, however many come at once', async (t) => {
  const { connecting, acquire } = setUp(t, { maxPerUser: 3, channelsPerConnection: 1 }, true)
  const all = Array.from({ length: 20 }, (_, index) => acquire(`m${index % 5}`))
  for (const one of all) one.catch(() => {})
  await turn()
  assert.equal(connecting.length, 3)
})

test('who waits is served in the order of coming', async (t) => {
  const { acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 1 })
  const first = await acquire()
  const served: number[] = []
  const waiting = [1, 2, 3].map((number) =>
    acquire().then((lease) => {
      served.push(number)
      lease.release()
    }),
  )
  first.release()
  await Promise.all(waiting)
  assert.deepEqual(served, [1, 2, 3])
})

test('one who waits too long is POOL_EXHAUSTED, told when to come again, and forgotten', async (t) => {
  const { pool, acquire, tick } = setUp(t, { maxPerUser: 1, channelsPerConnection: 1, waitMs: 500 })
  const first = await acquire()
  const second = acquire()
  second.catch(() => {})
  await tick(499)
  assert.equal(await settled(second), false)
  await tick(1)
  await assert.rejects(
    second,
    (error: unknown) => hasCode('POOL_EXHAUSTED')(error) && (error as TunnelError).retryAfterMs! > 0,
  )
  assert.equal(pool.waiting('ada'), 0)
  first.release()
  ;(await acquire()).release()
})

test('one whose connection is being made waits for its outcome', async (t) => {
  const { connecting, acquire, tick } = setUp(t, { waitMs: 500 }, true)
  const first = acquire()
  await turn()
  await tick(5_000)
  assert.equal(await settled(first), false)
  connecting[0]!.done()
  await first
})

test('an idle connection to another machine makes room', async (t) => {
  const { made, acquire } = setUp(t, { maxPerUser: 2 })
  ;(await acquire('a')).release()
  const b = await acquire('b')
  const c = await acquire('c')
  assert.deepEqual(
    made.map(({ machine, closed }) => [machine, closed]),
    [
      ['a', true],
      ['b', false],
      ['c', false],
    ],
  )
  b.release()
  c.release()
})

test('an idle connection is closed after idleMs, and not while it is used', async (t) => {
  const { pool, made, acquire, tick } = setUp(t, { idleMs: 1_000 })
  const lease = await acquire()
  await tick(5_000)
  assert.equal(made[0]!.closed, false)
  lease.release()
  await tick(999)
  assert.equal(made[0]!.closed, false)
  await tick(1)
  assert.equal(made[0]!.closed, true)
  assert.deepEqual(pool.states(), { connecting: 0, idle: 0, busy: 0 })
})

test('a connection that nobody waited for any longer is idle, and closed in its time', async (t) => {
  const { connecting, acquire, tick } = setUp(t, { idleMs: 1_000 }, true)
  const abort = new AbortController()
  const given = acquire('home', 'ada', abort.signal)
  await turn()
  abort.abort()
  await assert.rejects(given, hasCode('ABORTED'))
  const connection = connecting[0]!.done()
  await turn()
  await tick(1_000)
  assert.equal(connection.closed, true)
})

test('the death of a connection wakes those who wait, and a lease of the dead releases nothing', async (t) => {
  const { made, acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 1 })
  const first = await acquire()
  const second = acquire()
  first.connection.die()
  const lease = await second
  assert.notEqual(lease.connection, first.connection)
  first.release()
  first.release()
  const third = acquire()
  assert.equal(await settled(third), false)
  lease.release()
  await third
  assert.equal(made.length, 2)
})

test("one user's waiting holds up nobody else", async (t) => {
  const { acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 1 })
  await acquire('home', 'ada')
  const waiting = acquire('home', 'ada')
  waiting.catch(() => {})
  await acquire('home', 'bob')
})

test('a machine with a free channel does not wait behind one without a place', async (t) => {
  const { acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 2 })
  await acquire('a')
  const blocked = acquire('b')
  blocked.catch(() => {})
  await acquire('a')
  assert.equal(await settled(blocked), false)
})

test('too many who wait are refused at once', async (t) => {
  const { acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 1, maxWaiting: 2 })
  await acquire()
  for (let index = 0; index < 2; index++) acquire().catch(() => {})
  await assert.rejects(acquire(), hasCode('POOL_EXHAUSTED'))
})

test('closing ends connections, gives up attempts and refuses who waits', async (t) => {
  const { pool, made, connecting, acquire } = setUp(t, { maxPerUser: 2, channelsPerConnection: 1 }, true)
  const first = acquire('a')
  const second = acquire('b')
  await turn()
  connecting[0]!.done()
  await first
  const third = acquire('a')
  pool.close()
  pool.close()
  await assert.rejects(second, hasCode('SHUTTING_DOWN'))
  await assert.rejects(third, hasCode('SHUTTING_DOWN'))
  await assert.rejects(acquire(), hasCode('SHUTTING_DOWN'))
  assert.equal(made[0]!.closed, true)
  assert.equal(connecting[1]!.request.signal.aborted, true)
  const late = connecting[1]!.done()
  await turn()
  assert.equal(late.closed, true)
})

test('what a further request costs does not grow with how many wait', async (t) => {
  const looked = async (count: number): Promise<number> => {
    const { pool, made, acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 1 })
    const first = await acquire()
    let looks = 0
    const connection = made[0]!
    Object.defineProperty(connection, 'closed', {
      get() {
        looks++
        return false
      },
      set() {},
    })
    const served = Array.from({ length: count }, () => acquire().then((lease) => lease.release()))
    assert.equal(pool.waiting('ada'), count)
    first.release()
    await Promise.all(served)
    return looks
  }
  const [few, many] = [await looked(400), await looked(4_000)]
  assert.ok(many <= few * 11, `${few} looks for 400, ${many} for 4,000`)
})

test('what waits is served by weight between priorities, so that none starves', async (t) => {
  const { pool } = setUp(t, { maxPerUser: 1, channelsPerConnection: 1 })
  const route = routeTo('home')
  const first = await pool.acquire({ userId: 'ada', route })
  const served: Priority[] = []
  const waiting = (['low', 'normal', 'high'] as const).flatMap((priority) =>
    Array.from({ length: 100 }, async () => {
      const lease = await pool.acquire({ userId: 'ada', route, priority })
      served.push(priority)
      lease.release()
    }),
  )
  first.release()
  await Promise.all(waiting)
  const share = (priority: Priority) => served.slice(0, 84).filter((it) => it === priority).length
  // 16 : 4 : 1, give or take the one that was served before.
  assert.ok(Math.abs(share('high') - 64) <= 1, `${share('high')} of high`)
  assert.ok(Math.abs(share('normal') - 16) <= 1, `${share('normal')} of normal`)
  assert.ok(Math.abs(share('low') - 4) <= 1, `${share('low')} of low`)
})

test('machines that want a connection get one in turn', async (t) => {
  const { acquire } = setUp(t, { maxPerUser: 1, channelsPerConnection: 1 })
  const first = await acquire('a')
  const served: string[] = []
  const waiting = ['b', 'b', 'c', 'c'].map(async (machine) => {
    const lease = await acquire(machine)
    served.push(machine)
    await turn()
    lease.release()
  })
  first.release()
  await Promise.all(waiting)
  assert.deepEqual(served, ['b', 'c', 'b', 'c'])
})

test("the end of a machine ends its connections and its waits, and nobody else's", async (t) => {
  const { pool, made, acquire } = setUp(t, { maxPerUser: 2, channelsPerConnection: 1 })
  await acquire('a')
  await acquire('b')
  const waiting = [acquire('a'), acquire('b')]
  pool.endMachine('ada', 'a', new TunnelError('MACHINE_UNKNOWN', 'forgotten', { hop: 'proxy' }))
  await assert.rejects(waiting[0]!, hasCode('MACHINE_UNKNOWN'))
  assert.deepEqual([made[0]!.closed, made[1]!.closed], [true, false])
  // And its place is free for the other.
  await waiting[1]
})
