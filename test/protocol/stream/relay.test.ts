import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { encodeFrame, encodeHead, encodeWindow, FrameType } from '../../../protocol/codec/frames.ts'
import { MAX_JSON_VALUES } from '../../../protocol/codec/json.ts'
import type { IncomingOpen } from '../../../protocol/link/handlers.ts'
import { Relay } from '../../../protocol/stream/relay.ts'
import { RelayMemory } from '../../../protocol/stream/relay-memory.ts'
import { helloOf, idOf, KIB, linkOf, MIB, Parties, RawPeer } from '../parties.ts'
import { CLEAN, Relayed, settled } from './relaying.ts'

test('bytes of both directions cross with another number and nothing else changed', async () => {
  const relayed = await new Relayed(new Parties({ latencyMs: () => 10 })).connect()
  const { parties } = relayed
  const near = parties.open({ later: 'kept' } as object, Buffer.from('first '))
  await parties.pass(100)
  const far = parties.accepted[0]!
  assert.equal(far.stream.head.further, '{"later":"kept"}')
  assert.equal(far.stream.head.subject, 'anna')
  near.stream.write(Buffer.alloc(700 * KIB, 'u'))
  near.stream.end()
  far.stream.write(Buffer.alloc(300 * KIB, 'd'))
  far.stream.writeAux(Buffer.from('aux'))
  far.stream.event({ exit: { code: 0 } })
  far.stream.end()
  await parties.pass(5_000)
  assert.equal(far.bytes.length, 700 * KIB + 6)
  assert.equal(near.bytes.length, 300 * KIB)
  assert.equal(near.aux.toString(), 'aux')
  assert.deepEqual(near.events, [{ exit: { code: 0 } }])
  assert.deepEqual(relayed.carried, { up: 700 * KIB, down: 300 * KIB + 3 })
  assert.equal(near.error ?? far.error, undefined)
  assert.deepEqual(relayed.leftovers(), CLEAN)
})

test('the agent link is cut: the client is told SUSPEND, keeps its link, and goes on when the agent is back', async () => {
  const relayed = await new Relayed(new Parties({ latencyMs: () => 10 })).connect()
  const { parties } = relayed
  const near = parties.open()
  await parties.pass(100)
  near.stream.write(Buffer.alloc(500 * KIB, 'u'))
  near.stream.end()
  await parties.pass(25)
  relayed.agentPair!.cut()
  await parties.pass(3_000)
  assert.ok(near.stream.suspended)
  assert.ok(!relayed.clientLink!.closed)
  await relayed.connectAgent()
  parties.accepted[0]!.stream.end()
  await parties.pass(10_000)
  assert.equal(parties.accepted[0]!.bytes.length, 500 * KIB)
  assert.equal(parties.accepted.length, 1)
  assert.deepEqual(relayed.leftovers(), CLEAN)
})

test('the client link is cut: the agent is told SUSPEND, and the stream goes on through any relay', async () => {
  const parties = new Parties({ latencyMs: () => 10 })
  const relayed = await new Relayed(parties).connect()
  const near = parties.open()
  await parties.pass(100)
  near.stream.write(Buffer.alloc(500 * KIB, 'u'))
  await parties.pass(25)
  relayed.clientPair!.cut()
  await parties.pass(1_000)
  assert.ok(parties.accepted[0]!.stream.suspended)
  // Another replica, which has never heard of the stream.
  const other = await new Relayed(parties).connect()
  near.stream.end()
  parties.accepted[0]!.stream.end()
  await parties.pass(5_000)
  assert.equal(parties.accepted[0]!.bytes.length, 500 * KIB)
  assert.deepEqual(other.leftovers(), CLEAN)
  assert.equal(relayed.relays.size, 0)
})

test('an OPEN that its relay lost before the agent had it is sent again and executed once', async () => {
  const parties = new Parties({ latencyMs: () => 10 })
  const relayed = await new Relayed(parties).connect()
  await parties.pass(1_000)
  const near = parties.open({}, Buffer.from('once'), true)
  // It is between relay and agent.
  await parties.pass(15)
  relayed.agentPair!.cut()
  await parties.pass(500)
  assert.equal(parties.accepted.length, 0)
  await relayed.connectAgent()
  await parties.pass(5_000)
  assert.ok(near.accepted)
  assert.equal(parties.accepted.length, 1)
  assert.equal(parties.accepted[0]!.bytes.toString(), 'once')
})

test('the path may be gone when a relay is to be joined to it: the opener is told, and asks again', async () => {
  const relayed = await new Relayed().connect()
  const { parties } = relayed
  const pair = parties.newPair()
  let relay: Relay | undefined
  let incoming: IncomingOpen | undefined
  linkOf(pair.b, parties.clock, false, {
    open: (open) => {
      incoming = open
      relay = new Relay(open, { memory: relayed.memory })
    },
  })
  const peer = new RawPeer(pair.a)
  peer.hello()
  peer.open(1)
  await parties.pass(10)
  // The agent's link ends while the open is being authorised.
  relayed.agentLink!.terminate()
  relay!.connect(relayed.agentLink!, incoming!.head)
  await parties.pass(10)
  assert.equal(peer.of(FrameType.SUSPEND, 1).length, 1)
  assert.ok(relay!.over)
})

test('a RESET crosses and frees both sides', async () => {
  const relayed = await new Relayed().connect()
  const { parties } = relayed
  for (const side of ['opener', 'acceptor']) {
    const near = parties.open()
    await parties.pass(10)
    const far = parties.accepted.at(-1)!
    const [from, to] = side === 'opener' ? [near, far] : [far, near]
    from.stream.reset(new TunnelError('ABORTED', 'given up', { hop: 'link' }))
    await parties.pass(10)
    assert.equal(to.error?.code, 'ABORTED')
  }
  assert.deepEqual(relayed.leftovers(), CLEAN)
})

const badFromClient: [string, (peer: RawPeer) => void, string][] = [
  ['ACCEPT', (peer) => peer.send(encodeHead(FrameType.ACCEPT, 1, { window: 1 })), 'FRAME_INVALID'],
  ['RESUMED', (peer) => peer.json(FrameType.RESUMED, 1, { received: 0, limit: 1 }), 'FRAME_INVALID'],
  ['a WINDOW of another length', (peer) => peer.send(encodeFrame(FrameType.WINDOW, 1)), 'FRAME_INVALID'],
  [
    'DATA beyond the window',
    (peer) => peer.send(encodeFrame(FrameType.DATA, 1, new Uint8Array(300_000))),
    'FRAME_INVALID',
  ],
]
for (const [what, send, code] of badFromClient) {
  test(`${what} from a client ends its stream on both sides, and no other`, async () => {
    const relayed = await new Relayed().connect()
    const { parties } = relayed
    const other = parties.open()
    await parties.pass(10)
    const peer = new RawPeer(relayed.listen().a)
    peer.hello()
    peer.open(1)
    await parties.pass(10)
    send(peer)
    await parties.pass(10)
    assert.equal(peer.resetCode(1), code)
    assert.equal(parties.accepted[1]!.error?.code, code)
    assert.equal(peer.closedWith, undefined)
    other.stream.write(Buffer.from('fine'))
    await parties.pass(10)
    assert.equal(parties.accepted[0]!.bytes.toString(), 'fine')
  })
}

test('a SUSPEND from the opener, which another relay says, passes on and frees both places', async () => {
  const relayed = await new Relayed().connect()
  const { parties } = relayed
  const peer = new RawPeer(relayed.listen().a)
  peer.hello()
  peer.open(1)
  await parties.pass(10)
  peer.send(encodeFrame(FrameType.SUSPEND, 1))
  await parties.pass(10)
  assert.equal(parties.accepted[0]!.stream.link, undefined)
  assert.equal(peer.resetCode(1), undefined)
  assert.equal(relayed.leftovers().relays, 0)
})

test('a frame that comes before the answer has no place, but a RESET has', async () => {
  const parties = new Parties()
  for (const [type, expected] of [
    [FrameType.DATA, 'FRAME_INVALID'],
    [FrameType.RESET, undefined],
  ] as const) {
    const pair = parties.newPair()
    const relays: Relay[] = []
    linkOf(pair.b, parties.clock, false, {
      open: (open) => relays.push(new Relay(open, { memory: new RelayMemory(MIB) })),
    })
    const peer = new RawPeer(pair.a)
    peer.hello()
    peer.open(1)
    await parties.pass(1)
    if (type === FrameType.RESET) peer.json(type, 1, { code: 'ABORTED', message: '' })
    else peer.send(encodeFrame(type, 1, new Uint8Array(1)))
    await parties.pass(1)
    assert.equal(peer.resetCode(1), expected)
    assert.ok(relays[0]!.over)
  }
})

test('a head that grows at the relay beyond what the agent takes ends its stream, and the agent keeps its link', async () => {
  const relayed = await new Relayed().connect()
  const { parties } = relayed
  const peer = new RawPeer(relayed.listen().a)
  peer.hello()
  const open = (number: number, further: string): void => {
    const head = JSON.stringify({ id: idOf(number), kind: 'ssh', machine: 'home', window: 9 })
    const text = `${head.slice(0, -1)},"x":[${further}]}`
    const body = Buffer.alloc(4 + text.length)
    body.writeUInt32BE(text.length)
    body.write(text, 4)
    peer.send(encodeFrame(FrameType.OPEN, number, body))
  }
  // Read and written again, 1e20 is five times as long.
  open(1, Array(8_000).fill('1e20').join())
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'FRAME_TOO_LARGE')
  // 8,191 values: the relay's own word is a name and a text more.
  open(
    5,
    Array(MAX_JSON_VALUES - 12)
      .fill('0')
      .join(),
  )
  await parties.pass(10)
  assert.equal(peer.resetCode(5), 'FRAME_TOO_LARGE', 'the subject is too much')
  const resume = { id: idOf(7), kind: 'ssh', machine: 'home', received: 0, limit: 0, attempt: 1 }
  peer.json(FrameType.RESUME, 7, { ...resume, x: Array(MAX_JSON_VALUES - 16).fill(0) })
  await parties.pass(10)
  assert.equal(peer.resetCode(7), 'FRAME_TOO_LARGE')
  peer.open(9, {}, new Uint8Array(MIB - 100))
  await parties.pass(10)
  assert.equal(peer.resetCode(9), 'FRAME_TOO_LARGE', 'the subject makes it too long')
  assert.ok(!relayed.agentLink!.closed)
  assert.equal(peer.closedWith, undefined)
  assert.equal(parties.accepted.length, 0)
})

test('a frame that the agent would not take ends its stream, and the agent keeps its link', async () => {
  const parties = new Parties({ acceptorSettings: { windowBytes: MIB } })
  const relayed = new Relayed(parties)
  await relayed.connectAgent(helloOf('agent', { limits: { maxFrameBytes: 131_072, maxStreams: 256 } }))
  const peer = new RawPeer(relayed.listen().a)
  peer.hello()
  peer.open(1)
  await parties.pass(10)
  peer.send(encodeFrame(FrameType.DATA, 1, new Uint8Array(200_000)))
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'FRAME_TOO_LARGE')
  assert.ok(!relayed.agentLink!.closed)
  assert.equal(parties.accepted[0]!.error?.code, 'FRAME_TOO_LARGE')
})

test('a frozen agent is told from a peer that acknowledges nothing: the stream waits and goes on', async () => {
  const relayed = await new Relayed(new Parties({ latencyMs: () => 10 })).connect()
  const { parties } = relayed
  const near = parties.open()
  await parties.pass(100)
  relayed.agentPair!.freeze()
  near.stream.write(Buffer.alloc(100 * KIB, 'x'))
  await parties.pass(100_000)
  assert.ok(!near.closed)
  assert.ok(near.stream.suspended, 'the relay has found the agent gone and said so')
  await relayed.connectAgent()
  await parties.pass(5_000)
  assert.equal(parties.accepted[0]!.bytes.length, 100 * KIB)
  assert.ok(!near.closed)
})

test('a liar about what it has received frees the relay and leaves nothing behind', async () => {
  const relayed = await new Relayed().connect()
  const { parties } = relayed
  const peer = new RawPeer(relayed.listen().a)
  peer.hello()
  peer.open(1, {}, undefined, true)
  await parties.pass(10)
  parties.accepted[0]!.stream.end(Buffer.from('x'))
  await parties.pass(10)
  peer.send(encodeWindow(1, { received: 2 ** 47, limit: 2 ** 48 - 1 }))
  await parties.pass(settled)
  assert.ok(parties.accepted[0]!.closed)
  assert.deepEqual(relayed.leftovers(), CLEAN)
})
