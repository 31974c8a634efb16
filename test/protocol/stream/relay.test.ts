import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { encodeFrame, encodeHead, encodeWindow, FrameType } from '../../../protocol/codec/frames.ts'
import type { Hello } from '../../../protocol/codec/hello.ts'
import { MAX_JSON_VALUES } from '../../../protocol/codec/json.ts'
import type { IncomingOpen, IncomingResume } from '../../../protocol/link/handlers.ts'
import { HeldSeat } from '../../../protocol/link/held-seat.ts'
import type { Link } from '../../../protocol/link/link.ts'
import { Relay } from '../../../protocol/stream/relay.ts'
import { RelayMemory } from '../../../protocol/stream/relay-memory.ts'
import type { MemoryPair } from '../../support/memory-transport.ts'
import { helloOf, idOf, KIB, linkOf, MIB, NOTHING, Parties, RawPeer, SETTINGS } from '../parties.ts'

/** A proxy between an opener (`parties.opener`) and an acceptor: two links and the relays between them. */
class Relayed {
  readonly parties: Parties
  readonly memory: RelayMemory
  readonly relays = new Set<Relay>()
  agentLink: Link | undefined
  agentPair: MemoryPair | undefined
  /** The proxy's end of the newest client link. */
  clientLink: Link | undefined
  clientPair: MemoryPair | undefined
  readonly carried = { up: 0, down: 0 }

  constructor(parties = new Parties(), memoryBytes = 64 * MIB) {
    this.parties = parties
    this.memory = new RelayMemory(memoryBytes)
  }

  #route(incoming: IncomingOpen | IncomingResume): void {
    const relay: Relay = new Relay(incoming, {
      memory: this.memory,
      onBytes: (direction, bytes) => {
        this.carried[direction] += bytes
      },
      onOver: () => this.relays.delete(relay),
    })
    this.relays.add(relay)
    if (this.agentLink === undefined || this.agentLink.closed) return relay.suspend()
    relay.connect(this.agentLink, { ...incoming.head, subject: 'anna' })
  }

  /** A link whose proxy end is here and whose far end a test holds. */
  listen(): MemoryPair {
    const pair = this.parties.newPair()
    this.clientLink = linkOf(pair.b, this.parties.clock, false, {
      open: (open) => this.#route(open),
      resume: (resume) => this.#route(resume),
    })
    this.clientPair = pair
    return pair
  }

  async connectClient(): Promise<Link> {
    const { parties } = this
    const near: Link = linkOf(this.listen().a, parties.clock, true, {
      ready: () => parties.opener.attach(near),
    })
    await parties.pass(200)
    return near
  }

  agentSocket(): MemoryPair {
    const pair = this.parties.newPair()
    this.agentPair = pair
    this.agentLink = linkOf(pair.b, this.parties.clock, false)
    return pair
  }

  async connectAgent(hello: Hello = helloOf('agent')): Promise<void> {
    const { parties } = this
    linkOf(
      this.agentSocket().a,
      parties.clock,
      true,
      {
        open: (open) => parties.acceptor.open(open, open.head.subject),
        resume: (resume) => parties.acceptor.resume(resume, resume.head.subject),
      },
      hello,
    )
    await parties.pass(200)
  }

  async connect(): Promise<this> {
    await this.connectAgent()
    await this.connectClient()
    return this
  }

  leftovers(): Record<string, number> {
    return {
      ...this.parties.leftovers(),
      relays: this.relays.size,
      memory: this.memory.usedBytes,
      places: (this.agentLink?.streamCount ?? 0) + (this.clientLink?.streamCount ?? 0),
    }
  }
}

const CLEAN = { ...NOTHING, relays: 0, memory: 0, places: 0 }
const settled = SETTINGS.resumeMs + 1_000

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

test('a relay carries a window of any size: what waits is bounded for the user, and nothing is lost', async () => {
  const parties = new Parties({
    latencyMs: () => 10,
    openerSettings: { windowBytes: 4 * MIB },
    acceptorSettings: { windowBytes: 4 * MIB },
  })
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

test('a link that is held because a slow one is full is not lost by its peer', async () => {
  const parties = new Parties({
    latencyMs: () => 10,
    openerSettings: { windowBytes: 4 * MIB },
    acceptorSettings: { windowBytes: 4 * MIB },
  })
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

/** A proxy that parks every RESUME, as for an agent that is away. */
function parking(
  parties: Parties,
  memory: RelayMemory,
): { peer: RawPeer; parked: Relay[]; over: string[]; link: Link; cut(): void } {
  const pair = parties.newPair()
  const parked: Relay[] = []
  const over: string[] = []
  const onOver = (error: TunnelError | undefined, isOver: boolean): void => {
    over.push(`${error?.code ?? 'none'} ${isOver}`)
  }
  const link = linkOf(pair.b, parties.clock, false, {
    open: (open) => void parked.push(new Relay(open, { memory, onOver })),
    resume: (resume) => void parked.push(new Relay(resume, { memory, onOver })),
  })
  const peer = new RawPeer(pair.a)
  peer.hello()
  return { peer, parked, over, link, cut: () => pair.cut() }
}

const RESUME = { kind: 'ssh', machine: 'away', received: 0, limit: 0, attempt: 1 }

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

test('first bytes that wait with their OPEN count, until it has been passed on', async () => {
  const memory = new RelayMemory(MIB)
  const parties = new Parties()
  const { peer, parked } = parking(parties, memory)
  for (let number = 1; number < 40; number += 2) peer.open(number, {}, Buffer.alloc(60_000))
  await parties.pass(10)
  assert.equal(parked.length, 8)
  assert.ok(memory.usedBytes > 480_000)
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
