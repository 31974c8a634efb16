import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { PoolOptions } from '../../../plugins/pool/options.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { type Connection, hasCode, routeTo, settled, setUp, turn } from './rig.ts'

/** A server that takes so many channels at once, and says so in its own way. */
function withServer(t: TestContext, takes: number, options: Partial<PoolOptions> = {}) {
  const parts = setUp(t, { maxPerUser: 1, channelsPerConnection: 4, ...options })
  const full = new TunnelError('CHANNEL_OPEN_FAILED', 'full', { hop: 'proxy' })
  const open = new Map<Connection, number>()
  const channel = () =>
    parts.pool.open({ userId: 'ada', route: routeTo('home') }, async (connection) => {
      connection.isFull = (error) => error === full
      const count = open.get(connection) ?? 0
      if (count >= takes) throw full
      open.set(connection, count + 1)
      return () => open.set(connection, (open.get(connection) ?? 0) - 1)
    })
  return { ...parts, channel, full }
}

test('a channel that the server refuses because it has enough is opened once another has closed', async (t) => {
  const { pool, channel, tick } = withServer(t, 2)
  const [one, two] = [await channel(), await channel()]
  const third = channel()
  assert.equal(await settled(third), false)
  await tick(50)
  assert.equal(await settled(third), false)
  one.channel()
  one.lease.release()
  await third
  // What the server takes is known by now: nobody has to be refused for it.
  const fourth = channel()
  two.channel()
  two.lease.release()
  await fourth
  assert.equal(pool.waiting('ada'), 0)
})

test('a refused channel is opened at another place where there is one, and served before who comes later', async (t) => {
  const { made, channel } = withServer(t, 1, { maxPerUser: 2 })
  const leases = await Promise.all([channel(), channel()])
  assert.deepEqual(leases.map(({ lease }) => made.indexOf(lease.connection)).sort(), [0, 1])
})

test('a server that lets go of a channel a moment late is asked again', async (t) => {
  const { channel, tick } = withServer(t, 1)
  const one = await channel()
  one.lease.release()
  const next = channel()
  assert.equal(await settled(next), false)
  one.channel()
  await tick(50)
  await next
})

test('a server that takes no channel at all says so at once', async (t) => {
  const { channel, full } = withServer(t, 0)
  await assert.rejects(channel(), full)
})

test('a refused channel is given up when its time is over', async (t) => {
  const { channel, tick } = withServer(t, 1, { waitMs: 500 })
  await channel()
  const second = channel()
  second.catch(() => {})
  await turn()
  await tick(600)
  await assert.rejects(second, hasCode('POOL_EXHAUSTED'))
})
