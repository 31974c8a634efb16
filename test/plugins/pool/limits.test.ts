import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Value } from 'typebox/value'
import { PoolOptions } from '../../../plugins/pool/options.ts'
import { ConnectionPool } from '../../../plugins/pool/pool.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { type Connecting, Connection, type Lease, routeTo, turn } from './rig.ts'

test('whatever happens, limits hold and everyone is served or told', async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('acquire' as const), machine: fc.constantFrom('a', 'b', 'c') }),
    fc.record({
      do: fc.constantFrom('release', 'die', 'connect', 'refuse', 'abort', 'offer'),
      at: fc.nat(50),
    }),
    fc.record({ do: fc.constant('tick' as const), ms: fc.constantFrom(10, 100, 600) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const options = {
        ...(Value.Default(PoolOptions, {}) as PoolOptions),
        maxPerUser: 2,
        channelsPerConnection: 2,
        waitMs: 500,
        idleMs: 300,
      }
      const clock = new VirtualClock()
      const tick = (ms: number): Promise<void> => clock.run(clock.now() + ms)
      const live = new Set<Connection>()
      const connecting: Connecting[] = []
      const pool = new ConnectionPool<Connection>(
        options,
        (request) => {
          return new Promise((resolve, reject) => {
            connecting.push({
              request,
              done() {
                const connection = new Connection(request.route.name)
                live.add(connection)
                connection.onClose(() => live.delete(connection))
                resolve(connection)
                return connection
              },
              fail: reject,
            })
          })
        },
        clock,
      )
      const leases: Lease[] = []
      const aborts: AbortController[] = []
      let asked = 0
      let answered = 0
      const load = (connection: Connection): number =>
        leases.filter((lease) => lease.connection === connection).length
      const drop = (lease: Lease): void => {
        leases.splice(leases.indexOf(lease), 1)
        lease.release()
      }
      for (const it of steps) {
        if (it.do === 'acquire') {
          const abort = new AbortController()
          aborts.push(abort)
          asked++
          pool.acquire({ userId: 'ada', route: routeTo(it.machine), signal: abort.signal }).then(
            (lease) => {
              answered++
              assert.equal(lease.connection.machine, it.machine)
              leases.push(lease)
            },
            (error: unknown) => {
              answered++
              assert.ok(error instanceof TunnelError)
            },
          )
        } else if (it.do === 'tick') await tick(it.ms)
        else if (it.do === 'release' && leases.length > 0) drop(leases[it.at % leases.length]!)
        else if (it.do === 'offer' && leases.length > 0) {
          const lease = leases[it.at % leases.length]!
          lease.offer(() => drop(lease))
        } else if (it.do === 'abort' && aborts.length > 0) aborts[it.at % aborts.length]!.abort()
        else if (it.do === 'die' && live.size > 0) [...live][it.at % live.size]!.die()
        else if (it.do === 'connect') connecting.shift()?.done()
        else if (it.do === 'refuse')
          connecting.shift()?.fail(new TunnelError('TIMEOUT', 'late', { hop: 'proxy' }))
        await turn()
        assert.ok(live.size <= 2, `${live.size} connections`)
        for (const connection of live) assert.ok(load(connection) <= 2)
      }
      while (connecting.length > 0) {
        connecting.shift()!.fail(new TunnelError('TIMEOUT', 'late', { hop: 'proxy' }))
        await turn()
      }
      await tick(600)
      await turn()
      assert.equal(answered, asked)
      pool.close()
      assert.equal(live.size, 0)
    }),
    { numRuns: 300 },
  )
})
