import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Value } from 'typebox/value'
import { type PenaltyOptions, RateLimitOptions } from '../../../plugins/ratelimit/options.ts'
import { Penalties } from '../../../plugins/ratelimit/penalties.ts'
import { Buckets } from '../../../plugins/state/buckets.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

/** Two replicas on one state. */
function replicas(more: Partial<PenaltyOptions> = {}) {
  const clock = new VirtualClock()
  const buckets = new Buckets(clock)
  const state = { takeToken: async (...args: Parameters<Buckets['take']>) => buckets.take(...args) }
  const { penalties } = Value.Default(RateLimitOptions, {}) as RateLimitOptions
  const replica = () => new Penalties({ ...penalties, ...more }, state, clock)
  return { clock, one: replica(), other: replica() }
}

test('an address is refused when its offences add up faster than time takes them away, and until nothing is left', async () => {
  const { clock, one } = replicas()
  const fail = () => one.add('192.0.2.1', 'authFail')
  // One wrong token in five seconds is what time forgives.
  for (let count = 0; count < 10; count++) {
    await fail()
    await clock.run(clock.now() + 5_000)
  }
  assert.equal(one.refusedMs('192.0.2.1'), 0)
  await fail()
  await fail()
  assert.equal(one.refusedMs('192.0.2.1'), 0)
  await fail()
  assert.equal(one.refusedMs('192.0.2.1'), 15_000)
  assert.equal(one.refusedMs('192.0.2.2'), 0)
  // It has to go down to nothing, and not below the least that is acted on.
  await clock.run(clock.now() + 14_000)
  assert.equal(one.refusedMs('192.0.2.1'), 1_000)
  await clock.run(clock.now() + 1_000)
  assert.equal(one.refusedMs('192.0.2.1'), 0)
  await fail()
  assert.equal(one.refusedMs('192.0.2.1'), 0)
})

test('a penalty grows with what goes on, up to its maximum', async () => {
  const { one } = replicas()
  for (let count = 0; count < 1_000; count++) await one.add('192.0.2.1', 'authFail')
  assert.equal(one.refusedMs('192.0.2.1'), 600_000)
})

test('each offence has its time, and one that has none is free', async () => {
  const { one } = replicas({ handshakeMs: 0, minMs: 0 })
  await one.add('192.0.2.1', 'handshake')
  await one.add('192.0.2.2', 'noAuth')
  assert.deepEqual([one.refusedMs('192.0.2.1'), one.refusedMs('192.0.2.2')], [0, 1_000])
})

test('an IPv6 network is one, IPv4 is IPv4 however it is written, and those that are exempt get nothing', async () => {
  const { one } = replicas({ minMs: 0, exempt: ['127.0.0.0/8', '::1', '2001:db8:1::/48'] })
  await one.add('2001:db8:0:7::1', 'noAuth')
  await one.add('::ffff:192.0.2.1', 'noAuth')
  for (const address of [
    '2001:db8:0:7:9::2',
    '2001:DB8:0:7::',
    '192.0.2.1',
    '::FFFF:C000:201',
    '192.0.2.1:443',
  ])
    assert.equal(one.refusedMs(address), 1_000, address)
  assert.equal(one.refusedMs('2001:db8:0:8::1'), 0)
  const exempt = ['127.0.0.1', '::ffff:127.0.0.1', '::1', '2001:db8:1:2::3']
  for (const address of exempt) await one.add(address, 'authFail')
  assert.deepEqual(
    exempt.map((address) => one.refusedMs(address)),
    [0, 0, 0, 0],
  )
})

test('a replica learns with the first offence there what others have seen', async () => {
  const { one, other } = replicas()
  for (let count = 0; count < 4; count++) await one.add('192.0.2.1', 'authFail')
  assert.equal(other.refusedMs('192.0.2.1'), 0)
  await other.add('192.0.2.1', 'noAuth')
  assert.equal(other.refusedMs('192.0.2.1'), 21_000)
})

test('a table that is full forgets one, or refuses everybody until one is over', async () => {
  const addresses = Array.from({ length: 40 }, (_, index) => `192.0.2.${index}`)
  const { one } = replicas({ maxSources: 16, minMs: 0 })
  for (const address of addresses) await one.add(address, 'authFail')
  assert.equal(one.size, 16)
  assert.equal(one.refusedMs('192.0.2.39'), 5_000)
  assert.equal(one.refusedMs('198.51.100.1'), 0)

  const { one: strict, clock } = replicas({ maxSources: 16, minMs: 0, overflow: 'deny-all' })
  for (const address of addresses.slice(0, 16)) await strict.add(address, 'authFail')
  assert.equal(strict.refusedMs('198.51.100.1'), 0)
  await strict.add('192.0.2.16', 'authFail')
  assert.equal(strict.refusedMs('198.51.100.1'), 5_000)
  assert.equal(strict.refusedMs('127.0.0.1'), 0)
  await clock.run(clock.now() + 5_000)
  assert.equal(strict.refusedMs('198.51.100.1'), 0)
})
