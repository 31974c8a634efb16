import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TunnelError } from '../../../protocol/codec/errors.ts'
import { Parties } from '../parties.ts'

test('a silent link is found dead within timeoutMs, and says so', async () => {
  const parties = new Parties()
  const { near, far, pair } = await parties.connect()
  const heard = parties.open()
  await parties.pass(10_000)
  const frozenAtMs = parties.clock.now()
  pair.freeze()
  await parties.clock.run(frozenAtMs + 46_000, () => near.closed && far.closed)
  assert.ok(parties.clock.now() - frozenAtMs <= 45_000)
  for (const error of parties.linkErrors as TunnelError[]) assert.equal(error.code, 'TIMEOUT')
  assert.equal(parties.linkErrors.length, 2)
  assert.equal(heard.suspensions, 1)
})

test('an idle link that lives goes on for a day, with a round trip measured', async () => {
  const parties = new Parties({ latencyMs: () => 20 })
  const { near } = await parties.connect()
  await parties.pass(86_400_000)
  assert.ok(!near.closed)
  assert.equal(near.rttMs, 40)
})

test('a probe finds a dead link in its own time, and any traffic answers it', async () => {
  const parties = new Parties({ latencyMs: () => 20 })
  const { near, pair } = await parties.connect()
  near.probe(3_000)
  await parties.pass(5_000)
  assert.ok(!near.closed)
  pair.freeze()
  near.probe(3_000)
  await parties.pass(3_001)
  assert.equal(near.closedWith?.code, 'TIMEOUT')
})

test('a link that is held for long is dead for neither side', async () => {
  const parties = new Parties()
  const { near, far } = await parties.connect()
  far.hold()
  await parties.pass(600_000)
  assert.ok(!near.closed && !far.closed)
  const heard = parties.open()
  await parties.pass(1_000)
  assert.equal(heard.accepted, undefined)
  far.unhold()
  await parties.pass(1_000)
  assert.ok(heard.accepted)
})

test('a link closes when the last stream has left it, or at its deadline', async () => {
  const parties = new Parties()
  const { near } = await parties.connect()
  const heard = parties.open()
  await parties.pass(10)
  near.closeWhenIdle(10_000)
  await parties.pass(1_000)
  assert.ok(!near.closed)
  heard.stream.end()
  parties.accepted[0]!.stream.end()
  await parties.pass(1_000)
  assert.ok(near.closed)

  const second = await parties.connect()
  parties.open()
  await parties.pass(10)
  second.near.closeWhenIdle(10_000)
  await parties.pass(10_001)
  assert.ok(second.near.closed)
})
