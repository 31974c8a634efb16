import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { encodeFrame, FrameType } from '../../../protocol/codec/frames.ts'
import { HeldSeat } from '../../../protocol/link/held-seat.ts'
import type { Link } from '../../../protocol/link/link.ts'
import { Relay } from '../../../protocol/stream/relay.ts'
import { RelayMemory } from '../../../protocol/stream/relay-memory.ts'
import { helloOf, idOf, linkOf, MIB, Parties, RawPeer } from '../parties.ts'
import { CLEAN, parking, RESUME, Relayed } from './relaying.ts'

test('a RESET that follows a RESUME at once is passed on when the path is there', async () => {
  const relayed = await new Relayed().connect()
  const { parties } = relayed
  const near = parties.open()
  await parties.pass(10)
  relayed.clientPair!.cut()
  near.stream.reset(new TunnelError('ABORTED', 'given up', { hop: 'link' }))
  await relayed.connectClient()
  await parties.pass(1_000)
  assert.equal(parties.accepted[0]!.error?.code, 'ABORTED')
  assert.deepEqual(relayed.leftovers(), CLEAN)
})

test('a RESUME that is given up keeps neither its number nor its words, and ends with its link', async () => {
  const memory = new RelayMemory(MIB)
  const parties = new Parties()
  const { peer, parked, over, link, cut } = parking(parties, memory)
  for (let index = 0; index < 500; index++) {
    const number = 1 + 2 * index
    peer.json(FrameType.RESUME, number, { id: idOf(number), ...RESUME })
    peer.json(FrameType.RESET, number, { code: 'ABORTED', message: 'x'.repeat(60_000) })
  }
  await parties.pass(10)
  assert.ok(parked.length > 100 && parked.length < 130, `${parked.length} parked`)
  assert.equal(peer.resetCode(999), 'TOO_MANY_STREAMS')
  assert.deepEqual(over, [])
  const agent = parties.newPair()
  const agentPeer = new RawPeer(agent.a)
  const agentLink = linkOf(agent.b, parties.clock, false)
  agentPeer.hello(helloOf('agent'))
  await parties.pass(10)
  parked[0]!.connect(agentLink, { ...RESUME, id: idOf(1), kind: 'ssh' })
  await parties.pass(10)
  assert.deepEqual(over, ['ABORTED true'])
  assert.equal(agentPeer.of(FrameType.RESUME, 2).length, 1)
  const [reset] = agentPeer.of(FrameType.RESET, 2)
  assert.ok(reset !== undefined && reset.body.length < 2_000)
  cut()
  await parties.pass(10)
  assert.ok(parked.every((relay) => relay.over))
  assert.equal(memory.usedBytes, 0)
  assert.equal(link.streamCount, 0)
})

test('a stream that is given up while its place is held is told so, wherever it lives', async () => {
  const parties = new Parties()
  const pair = parties.newPair()
  const seats: HeldSeat[] = []
  const link = linkOf(pair.b, parties.clock, false, {
    open: (open) => void parties.acceptor.open(open, 'anna'),
    resume: ({ number }) => void seats.push(new HeldSeat(link, number)),
  })
  const peer = new RawPeer(pair.a)
  peer.hello()
  peer.open(1)
  await parties.pass(10)
  peer.json(FrameType.RESUME, 3, { ...RESUME, id: idOf(1) })
  peer.json(FrameType.RESET, 3, { code: 'ABORTED', message: 'gone' })
  peer.json(FrameType.RESUME, 5, { ...RESUME, id: idOf(1) })
  peer.send(encodeFrame(FrameType.DATA, 5, Buffer.from('x')))
  await parties.pass(10)
  assert.ok(seats[0]!.gone)
  assert.equal(seats[0]!.error?.code, 'ABORTED')
  assert.equal(peer.resetCode(5), 'FRAME_INVALID')
  parties.acceptor.abandon(idOf(1), 'bert', seats[0]!.error!)
  assert.equal(parties.accepted[0]!.closed, false)
  parties.acceptor.abandon(idOf(1), 'anna', seats[0]!.error!)
  assert.equal(parties.accepted[0]!.error?.code, 'ABORTED')
  assert.equal(link.streamCount, 0)
})

/** A RESUME that a relay holds, since there is no path to an agent yet. */
async function heldResume(): Promise<{
  parties: Parties
  peer: RawPeer
  link: Link
  relay: Relay
  /** The agent is there. */
  connect(): Promise<{ agent: RawPeer; agentLink: Link }>
}> {
  const parties = new Parties()
  const pair = parties.newPair()
  const relays: Relay[] = []
  const link = linkOf(pair.b, parties.clock, false, {
    resume: (resume) => relays.push(new Relay(resume, { memory: new RelayMemory(MIB) })),
  })
  const peer = new RawPeer(pair.a)
  peer.hello()
  const head = { id: idOf(1), kind: 'ssh', machine: 'home', received: 0, limit: 0, attempt: 1 } as const
  peer.json(FrameType.RESUME, 1, head)
  await parties.pass(10)
  const relay = relays[0]!
  const connect = async () => {
    const agentPair = parties.newPair()
    const agentLink = linkOf(agentPair.b, parties.clock, false)
    const agent = new RawPeer(agentPair.a)
    agent.hello(helloOf('agent'))
    await parties.pass(10)
    relay.connect(agentLink, head)
    await parties.pass(10)
    return { agent, agentLink }
  }
  return { parties, peer, link, relay, connect }
}

test('a RESET for a RESUME that is held gives its place back at once, and is passed on when there is a path', async () => {
  const { parties, peer, link, connect } = await heldResume()
  assert.equal(link.streamCount, 1)
  peer.json(FrameType.RESET, 1, { code: 'ABORTED', message: 'gone' })
  await parties.pass(10)
  assert.equal(link.streamCount, 0)
  const { agent, agentLink } = await connect()
  assert.equal(agent.of(FrameType.RESUME).length, 1)
  assert.equal(agent.resetCode(2), 'ABORTED')
  assert.equal(agentLink.streamCount, 0)
})

test('a RESET that cannot be read ends a RESUME that is held, and is passed on to nobody', async () => {
  const { parties, peer, link, relay, connect } = await heldResume()
  peer.send(encodeFrame(FrameType.RESET, 1, Buffer.from([0xff])))
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'FRAME_INVALID')
  assert.equal(relay.over, true)
  assert.equal(link.streamCount, 0)
  const { agent } = await connect()
  assert.deepEqual(agent.of(FrameType.RESUME), [])
})
