import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeFrame, FrameType } from '../../../protocol/codec/frames.ts'
import type { Link } from '../../../protocol/link/link.ts'
import { RelayMemory } from '../../../protocol/stream/relay-memory.ts'
import { idOf, KIB, MIB, Parties, RawPeer } from '../parties.ts'
import { CLEAN, parking, RESUME, Relayed } from './relaying.ts'

/** Parties whose streams have windows far beyond what a relay keeps of one. */
function withWideWindows(): Parties {
  const wide = { windowBytes: 4 * MIB }
  return new Parties({ latencyMs: () => 10, openerSettings: wide, acceptorSettings: wide })
}

test('a relay carries a window of any size: what waits is bounded for the user, and nothing is lost', async () => {
  const parties = withWideWindows()
  const relayed = new Relayed(parties, MIB)
  await relayed.connect()
  const near = parties.open()
  await parties.pass(100)
  // The agent's network takes nothing for a while.
  let most = 0
  relayed.agentPair!.b.stall()
  for (let count = 0; count < 64; count++) near.stream.write(Buffer.alloc(64 * KIB, count))
  near.stream.end()
  for (let step = 0; step < 100; step++) {
    await parties.pass(20)
    most = Math.max(most, relayed.memory.usedBytes)
  }
  assert.ok(most > 900 * KIB, `${most}`)
  assert.ok(most < MIB + 300 * KIB, `${most} is more than its bound and what was under way`)
  relayed.agentPair!.b.unstall()
  await parties.pass(5_000)
  const expected = Buffer.concat(Array.from({ length: 64 }, (_, count) => Buffer.alloc(64 * KIB, count)))
  assert.ok(parties.accepted[0]!.bytes.equals(expected))
  parties.accepted[0]!.stream.end()
  await parties.pass(1_000)
  assert.deepEqual(relayed.leftovers(), CLEAN)
})

test('a user who does not read holds up no other on a link that both need, and has everything in the end', async () => {
  const parties = withWideWindows()
  const relayed = new Relayed(parties, MIB)
  relayed.isShared = true
  await relayed.connect()
  const near = parties.open()
  await parties.pass(100)
  const far = parties.accepted[0]!
  const slow = relayed.clientPair!
  slow.b.stall()
  for (let count = 0; count < 64; count++) far.stream.write(Buffer.alloc(64 * KIB, count))
  let most = 0
  for (let step = 0; step < 50; step++) {
    await parties.pass(20)
    most = Math.max(most, relayed.memory.usedBytes)
  }
  assert.ok(most > 900 * KIB && most < MIB + 300 * KIB, `${most}`)

  const other = new RawPeer(relayed.listen().a)
  relayed.memories.set(relayed.clientLink!, new RelayMemory(MIB))
  other.hello()
  other.open(1)
  await parties.pass(100)
  parties.accepted[1]!.stream.write(Buffer.from('for the other'))
  await parties.pass(100)
  assert.equal(String(other.of(FrameType.DATA, 1)[0]?.body), 'for the other')

  slow.b.unstall()
  far.stream.end()
  near.stream.end()
  await parties.pass(10_000)
  const expected = Buffer.concat(Array.from({ length: 64 }, (_, count) => Buffer.alloc(64 * KIB, count)))
  assert.ok(near.bytes.equals(expected))
  assert.equal(relayed.memory.usedBytes, 0)
})

test('a link that is held because a slow one is full is not lost by its peer', async () => {
  const parties = withWideWindows()
  const relayed = new Relayed(parties, MIB)
  await relayed.connect()
  const near = parties.open()
  await parties.pass(100)
  const far = parties.accepted[0]!
  relayed.clientPair!.b.stall()
  for (let count = 0; count < 64; count++) far.stream.write(Buffer.alloc(64 * KIB, count))
  // The client hears nothing and its link is lost in time; until then the agent's must not be.
  const { agentLink } = relayed
  await parties.pass(44_000)
  assert.ok(!agentLink!.closed)
  relayed.clientPair!.b.unstall()
  far.stream.end()
  near.stream.end()
  await parties.pass(10_000)
  assert.equal(near.bytes.length, 4 * MIB)
  assert.ok(!agentLink!.closed && !relayed.clientLink!.closed)
  assert.deepEqual(relayed.leftovers(), CLEAN)
})

test('parked RESUMEs of one user are refused beyond the budget, on all links together, and cost nothing when the links go', async () => {
  const memory = new RelayMemory(MIB)
  const parties = new Parties()
  const links = [parking(parties, memory), parking(parties, memory)]
  const more = { further: 'x'.repeat(20_000), later: Array.from({ length: 1_000 }, () => ({})) }
  for (let index = 0; index < 50; index++) {
    const number = 1 + 2 * index
    for (const { peer } of links)
      peer.json(FrameType.RESUME, number, { id: idOf(number), ...RESUME, ...more })
  }
  await parties.pass(10)
  const parked = links.reduce((sum, link) => sum + link.parked.length, 0)
  assert.ok(parked > 5 && parked < 20, `${parked} parked`)
  assert.ok(memory.usedBytes <= MIB / 2)
  for (const { peer } of links) assert.equal(peer.resetCode(99), 'TOO_MANY_STREAMS')
  for (const { cut } of links) cut()
  await parties.pass(10)
  assert.equal(memory.usedBytes, 0)
  for (const { parked } of links) for (const relay of parked) assert.ok(relay.over)
})

test('first bytes that wait with their OPEN count, until it has been passed on', async () => {
  const memory = new RelayMemory(MIB)
  const parties = new Parties()
  const { peer, parked } = parking(parties, memory)
  for (let number = 1; number < 40; number += 2) peer.open(number, {}, Buffer.alloc(60_000))
  await parties.pass(10)
  assert.equal(parked.length, 8)
  assert.ok(memory.usedBytes > 480_000)
})

test('relay memory holds the links that bring more than it may keep, until half has left', () => {
  const calls: string[] = []
  const link = (name: string): Link =>
    ({
      closed: false,
      hold: () => calls.push(`hold ${name}`),
      unhold: () => calls.push(`unhold ${name}`),
    }) as unknown as Link
  const [a, b] = [link('a'), link('b')]
  const memory = new RelayMemory(100)
  memory.add(100, a)
  assert.deepEqual(calls, [])
  memory.add(1, a)
  memory.add(1, a)
  memory.add(1, b)
  assert.deepEqual(calls, ['hold a', 'hold b'])
  memory.remove(52)
  assert.equal(calls.length, 2)
  memory.remove(1)
  assert.deepEqual(calls.slice(2), ['unhold a', 'unhold b'])
  memory.remove(50)
  assert.equal(memory.usedBytes, 0)
})

test('what rides on an OPEN, and what an empty frame costs, are in the account of relays until they have left', async () => {
  const relayed = await new Relayed().connect()
  const { parties, memory } = relayed
  const filler = parties.open()
  await parties.pass(10)
  relayed.agentPair!.b.stall()
  filler.stream.write(new Uint8Array(250 * KIB))
  await parties.pass(10)
  const before = memory.usedBytes
  parties.open({}, new Uint8Array(60_000))
  await parties.pass(10)
  assert.ok(memory.usedBytes >= before + 60_000, `${memory.usedBytes - before}`)
  const peer = new RawPeer(relayed.listen().a)
  peer.hello()
  peer.open(1)
  await parties.pass(10)
  const idle = memory.usedBytes
  for (let count = 0; count < 100; count++) peer.send(encodeFrame(FrameType.DATA, 1))
  await parties.pass(10)
  assert.ok(memory.usedBytes - idle >= 100 * 100, `${memory.usedBytes - idle}`)
})
