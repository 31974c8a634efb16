import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import {
  encodeFrame,
  encodeJson,
  encodeWindow,
  FrameType,
  TYPE_MASK,
} from '../../../protocol/codec/frames.ts'
import type { LinkHandlers } from '../../../protocol/link/handlers.ts'
import type { Link } from '../../../protocol/link/link.ts'
import { StreamAcceptor } from '../../../protocol/stream/acceptor.ts'
import type { MemoryPair } from '../../support/memory-transport.ts'
import {
  helloOf,
  idOf,
  jsonOf,
  KIB,
  linkOf,
  MIB,
  NOTHING,
  Parties,
  RawPeer,
  rawClient,
  SETTINGS,
} from '../parties.ts'

/** A seeded pattern, so that a byte out of place shows. */
function pattern(bytes: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, index) => (index * 31 + (index >> 8) + seed) & 0xff)
}

function resume(peer: RawPeer, number: number, more: Record<string, unknown> = {}): void {
  peer.json(FrameType.RESUME, number, {
    id: idOf(1),
    kind: 'ssh',
    machine: 'home',
    received: 0,
    limit: SETTINGS.windowBytes,
    attempt: 1,
    ...more,
  })
}

test('a stream goes on over the next link from where it stood, and lacks nothing', async () => {
  const parties = new Parties({ latencyMs: () => 15 })
  const { pair } = await parties.connect()
  await parties.pass(100)
  const near = parties.open()
  await parties.pass(100)
  const [up, down] = [pattern(400 * KIB, 1), pattern(300 * KIB, 2)]
  near.stream.write(up)
  near.stream.end()
  const far = parties.accepted[0]!
  far.stream.write(down)
  far.stream.end()
  await parties.pass(20)
  pair.cut()
  await parties.pass(5_000)
  assert.ok(near.stream.suspended && far.stream.suspended)
  await parties.connect()
  await parties.pass(5_000)
  assert.ok(far.bytes.equals(up) && near.bytes.equals(down))
  assert.equal(near.suspensions, 1)
  assert.equal(near.resumptions, 1)
  assert.equal(far.resumptions, 1)
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('make before break: streams move to a new link in the midst of data, and the older one may live on', async () => {
  const parties = new Parties({ latencyMs: () => 15 })
  const first = await parties.connect()
  await parties.pass(100)
  const near = parties.open()
  await parties.pass(100)
  const far = parties.accepted[0]!
  const bytes = pattern(2 * MIB)
  near.stream.write(bytes)
  far.stream.write(bytes)
  for (let move = 0; move < 5; move++) {
    await parties.pass(37)
    await parties.connect()
  }
  near.stream.end()
  far.stream.end()
  await parties.pass(10_000)
  assert.ok(far.bytes.equals(bytes) && near.bytes.equals(bytes))
  assert.equal(near.suspensions, 0)
  assert.ok(!first.near.closed)
  assert.equal(first.near.streamCount + first.far.streamCount, 0, 'its place on the older link is given back')
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('without a link within the resume window, both ends say RESUME_EXPIRED', async () => {
  const parties = new Parties()
  const { pair } = await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  pair.cut()
  await parties.pass(SETTINGS.resumeMs - 1_000)
  assert.ok(!near.closed)
  await parties.pass(2_000)
  assert.equal(near.error?.code, 'RESUME_EXPIRED')
  assert.equal(parties.accepted[0]!.error?.code, 'RESUME_EXPIRED')
  assert.deepEqual(parties.leftovers(), NOTHING)
  assert.equal(parties.clock.pending, 0)
})

test('the stricter resume window holds for both ends', async () => {
  const parties = new Parties({ acceptorSettings: { resumeMs: 5_000 } })
  const { pair } = await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  pair.cut()
  await parties.pass(5_001)
  assert.equal(near.error?.code, 'RESUME_EXPIRED')
  assert.equal(parties.accepted[0]!.error?.code, 'RESUME_EXPIRED')
})

test('a stream that is opened without a link waits for one, within the resume window', async () => {
  const parties = new Parties()
  const near = parties.open({}, Buffer.from('hello'))
  await parties.pass(60_000)
  await parties.connect()
  assert.ok(near.accepted)
  assert.equal(parties.accepted[0]!.bytes.toString(), 'hello')
  const late = new Parties()
  const never = late.open()
  await late.pass(SETTINGS.resumeMs)
  assert.equal(never.error?.code, 'RESUME_EXPIRED')
  assert.equal(late.clock.pending, 0)
})

test('an OPEN that was lost with its link is sent again, with its first bytes and END, and executed once', async () => {
  const parties = new Parties({ latencyMs: () => 15 })
  const { pair } = await parties.connect()
  await parties.pass(100)
  const near = parties.open({}, Buffer.from('once'), true)
  await parties.pass(5)
  pair.cut()
  await parties.pass(1_000)
  assert.equal(parties.accepted.length, 0)
  await parties.connect()
  await parties.pass(1_000)
  assert.ok(near.accepted)
  assert.equal(parties.accepted.length, 1)
  assert.deepEqual(parties.accepted[0]!.order, ['data', 'ended'])
})

test('an OPEN whose answer was lost with its link is executed once', async () => {
  const parties = new Parties({ latencyMs: () => 15 })
  const { pair } = await parties.connect()
  await parties.pass(100)
  const near = parties.open({}, Buffer.from('once'), true)
  await parties.pass(20)
  assert.equal(parties.accepted.length, 1)
  pair.cut()
  await parties.connect()
  await parties.pass(1_000)
  assert.ok(near.accepted)
  assert.equal(parties.accepted.length, 1)
  parties.accepted[0]!.stream.end(Buffer.from('answer'))
  await parties.pass(1_000)
  assert.equal(near.bytes.toString(), 'answer')
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('an OPEN that arrives late on a frozen link, after it was sent again, is executed once', async () => {
  const { parties, peer } = await rawClient()
  const older = await rawClient(parties)
  resume(peer, 1)
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'UNKNOWN_STREAM')
  peer.open(3, { id: idOf(1), attempt: 2 })
  await parties.pass(10)
  older.peer.open(1, { id: idOf(1), attempt: 0 })
  await parties.pass(10)
  assert.equal(parties.accepted.length, 1)
  assert.equal(older.peer.resetCode(1), 'TAKEN_OVER')
  parties.accepted[0]!.stream.write(Buffer.from('x'))
  await parties.pass(10)
  assert.equal(peer.of(FrameType.DATA, 3).length, 1, 'it stays where the later attempt is')
})

test('an OPEN older than what the acceptor remembers is not sent again: nothing is known of it', async () => {
  const parties = new Parties({ latencyMs: () => 15 })
  const { pair } = await parties.connect()
  await parties.pass(100)
  const near = parties.open({}, Buffer.from('perhaps'))
  await parties.pass(5)
  pair.cut()
  await parties.pass(10_000)
  // The acceptor's process is another: it remembers less than the OPEN is old.
  const restarted = new StreamAcceptor({ hop: 'agent', settings: SETTINGS, clock: parties.clock })
  await parties.pass(5_000)
  Object.defineProperty(parties, 'acceptor', { value: restarted })
  await parties.connect()
  await parties.pass(1_000)
  assert.equal(near.error?.code, 'UNKNOWN_STREAM')
  assert.equal(restarted.size, 0)
})

test('a stream whose acceptor was killed ends with UNKNOWN_STREAM, soon', async () => {
  const parties = new Parties()
  const { pair } = await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  pair.cut()
  Object.defineProperty(parties, 'acceptor', {
    value: new StreamAcceptor({ hop: 'agent', settings: SETTINGS, clock: parties.clock }),
  })
  await parties.connect()
  assert.equal(near.error?.code, 'UNKNOWN_STREAM')
  assert.equal(parties.opener.size, 0)
})

test("somebody else's stream is as unknown as one that never was, and its owner hears of nothing", async () => {
  const { parties, peer } = await rawClient()
  peer.open(1)
  await parties.pass(10)
  parties.subject = 'bert'
  const { peer: thief } = await rawClient(parties)
  resume(thief, 1)
  resume(thief, 3, { id: idOf(77) })
  thief.open(5, { id: idOf(1) })
  await parties.pass(10)
  const [foreign, unknown] = [1, 3].map((number) => jsonOf(thief.of(FrameType.RESET, number)[0]!.body))
  assert.equal(foreign!.code, 'UNKNOWN_STREAM')
  assert.deepEqual(Object.keys(foreign!), Object.keys(unknown!))
  assert.equal(foreign!.message, unknown!.message)
  assert.equal(thief.resetCode(5), 'UNKNOWN_STREAM')
  assert.deepEqual(parties.foreign, [idOf(1), idOf(1)])
  peer.send(encodeFrame(FrameType.DATA, 1, Buffer.from('mine')))
  await parties.pass(10)
  assert.equal(parties.accepted[0]!.bytes.toString(), 'mine')
  assert.equal(parties.accepted.length, 1)
})

test('a resume takes a stream over from a link that is only half gone; a stale attempt does not', async () => {
  const { parties, peer: ghost } = await rawClient()
  ghost.open(1)
  await parties.pass(10)
  const { peer } = await rawClient(parties)
  resume(peer, 1, { attempt: 3 })
  await parties.pass(10)
  assert.equal(ghost.resetCode(1), 'TAKEN_OVER')
  assert.equal(peer.of(FrameType.RESUMED, 1).length, 1)
  for (const attempt of [3, 2, 0]) {
    const { peer: stale } = await rawClient(parties)
    resume(stale, 1, { attempt })
    await parties.pass(10)
    assert.equal(stale.resetCode(1), 'TAKEN_OVER')
  }
  // What the ghost still sends is dropped.
  ghost.send(encodeFrame(FrameType.DATA, 1, Buffer.from('late')))
  peer.send(encodeFrame(FrameType.DATA, 1, Buffer.from('now')))
  await parties.pass(10)
  assert.equal(parties.accepted[0]!.bytes.toString(), 'now')
})

test('a resume from further than was sent, or from inside a frame, ends that stream alone', async () => {
  const cases: [string, number][] = [
    ['further than sent', 1_000_000],
    ['inside a frame', 7],
    ['backwards', 0],
  ]
  for (const [what, received] of cases) {
    const { parties, peer } = await rawClient()
    peer.open(1)
    peer.open(3)
    await parties.pass(10)
    const accepted = peer.of(FrameType.ACCEPT, 1)[0]!.body.length + 5
    peer.send(encodeWindow(1, { received: accepted, limit: SETTINGS.windowBytes }))
    parties.accepted[0]!.stream.write(new Uint8Array(1_000))
    await parties.pass(10)
    const { peer: next } = await rawClient(parties)
    resume(next, 1, { received: what === 'inside a frame' ? accepted + received : received })
    await parties.pass(10)
    assert.equal(next.resetCode(1), 'FRAME_INVALID', what)
    assert.deepEqual(parties.linkErrors, [])
    assert.equal(parties.acceptor.size, 1)
  }
})

test('offsets past 2^48 refuse the resume and leave the stream where it is', async () => {
  const { parties, peer } = await rawClient()
  peer.open(1)
  await parties.pass(10)
  for (const [index, wrong] of [{ received: 2 ** 48 }, { limit: 2 ** 60 }, { attempt: -1 }].entries()) {
    resume(peer, 3 + 2 * index, wrong)
    await parties.pass(10)
    assert.equal(peer.resetCode(3 + 2 * index), 'FRAME_INVALID')
  }
  peer.send(encodeFrame(FrameType.DATA, 1, Buffer.from('fine')))
  await parties.pass(10)
  assert.equal(parties.accepted[0]!.bytes.toString(), 'fine')
})

test('a stream that is over answers a resume with its final offsets, or with its RESET again', async () => {
  const { parties, peer } = await rawClient()
  peer.open(1)
  peer.open(3)
  await parties.pass(10)
  const [orderly, broken] = [parties.accepted[0]!, parties.accepted[1]!]
  orderly.stream.end(Buffer.from('bye'))
  peer.send(encodeFrame(FrameType.END, 1))
  await parties.pass(10)
  const sent = orderly.stream.sentOffset
  peer.send(encodeWindow(1, { received: sent, limit: SETTINGS.windowBytes }))
  broken.stream.reset(new TunnelError('CONNECT_REFUSED', 'no', { hop: 'link' }))
  await parties.pass(10)
  assert.ok(orderly.closed && broken.closed)
  const { peer: next } = await rawClient(parties)
  resume(next, 1, { received: sent, attempt: 9 })
  resume(next, 3, { id: idOf(3), attempt: 9 })
  await parties.pass(10)
  assert.deepEqual(jsonOf(next.of(FrameType.RESUMED, 1)[0]!.body), {
    received: 5,
    limit: 5 + SETTINGS.windowBytes,
    end: sent,
  })
  assert.equal(next.resetCode(3), 'CONNECT_REFUSED')
  // And forgets it in time.
  await parties.pass(2 * SETTINGS.resumeMs)
  peer.transport.terminate()
})

test("the acceptor's last acknowledgement, lost with its link, is given again", async () => {
  const parties = new Parties({ latencyMs: () => 15 })
  const { pair } = await parties.connect()
  await parties.pass(100)
  const near = parties.open()
  await parties.pass(100)
  const far = parties.accepted[0]!
  far.stream.end()
  await parties.pass(100)
  near.stream.end(Buffer.from('last'))
  await parties.clock.run(parties.clock.now() + 1_000, () => far.closed)
  assert.ok(far.closed && !near.closed)
  pair.cut()
  await parties.connect()
  await parties.pass(100)
  assert.ok(near.closed)
  assert.equal(near.error, undefined)
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test("the opener's last acknowledgement, lost with its link, is given again", async () => {
  const parties = new Parties({ latencyMs: () => 15 })
  const { pair } = await parties.connect()
  await parties.pass(100)
  const near = parties.open()
  await parties.pass(100)
  const far = parties.accepted[0]!
  near.stream.end()
  await parties.pass(100)
  far.stream.end(Buffer.from('last'))
  await parties.clock.run(parties.clock.now() + 1_000, () => near.closed)
  assert.ok(near.closed && !far.closed)
  pair.cut()
  const { near: link, far: farLink } = await parties.connect()
  await parties.pass(100)
  assert.ok(far.closed)
  assert.equal(far.error, undefined)
  assert.deepEqual(parties.leftovers(), NOTHING)
  assert.equal(link.streamCount + farLink.streamCount, 0)
})

test('the last words of hundreds of streams leave places for a new one on the link that follows', async () => {
  const parties = new Parties({ latencyMs: () => 15 })
  const { pair } = await parties.connect()
  await parties.pass(100)
  for (let count = 0; count < 2 * SETTINGS.maxPerLink; count++) {
    const near = parties.open()
    await parties.pass(100)
    near.stream.end()
    parties.accepted[count]!.stream.end()
    await parties.pass(100)
    assert.ok(near.closed)
  }
  pair.cut()
  const { near: link } = await parties.connect()
  // Its HELLO is there, and no answer to a last word.
  await parties.pass(20)
  assert.ok(link.openableStreams > SETTINGS.maxPerLink / 2, `${link.openableStreams} places`)
  const near = parties.open()
  await parties.pass(10_000)
  assert.ok(near.accepted !== undefined)
  near.stream.end()
  parties.accepted.at(-1)!.stream.end()
  await parties.pass(100)
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test("the opener's RESET, lost with its link or made without one, is told again", async () => {
  for (const when of ['with its link', 'without one']) {
    const parties = new Parties({ latencyMs: () => 15 })
    const { pair } = await parties.connect()
    await parties.pass(100)
    const near = parties.open()
    await parties.pass(100)
    if (when === 'without one') pair.cut()
    near.stream.reset(new TunnelError('ABORTED', 'given up', { hop: 'link' }))
    if (when === 'with its link') pair.cut()
    await parties.pass(5_000)
    const { near: link, far } = await parties.connect()
    await parties.pass(100)
    assert.equal(parties.accepted[0]!.error?.code, 'ABORTED', when)
    assert.deepEqual(parties.leftovers(), NOTHING)
    assert.equal(link.streamCount + far.streamCount, 0)
  }
})

test("the acceptor's RESET, lost with its link, is told when the opener asks again", async () => {
  const parties = new Parties({ latencyMs: () => 15 })
  const { pair } = await parties.connect()
  await parties.pass(100)
  const near = parties.open()
  await parties.pass(100)
  parties.accepted[0]!.stream.reset(new TunnelError('CONNECT_REFUSED', 'no', { hop: 'link' }))
  pair.cut()
  await parties.connect()
  await parties.pass(100)
  assert.equal(near.error?.code, 'CONNECT_REFUSED')
})

test('SUSPEND makes the opener ask again: soon at first, then less often, and soon again after it was resumed', async () => {
  const parties = new Parties()
  const { far: farLink, pair } = await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  const asked: number[] = []
  pair.a.onSend = (frame) => {
    if (frame[0] === FrameType.RESUME) asked.push(parties.clock.now())
  }
  // A relay whose path is gone answers every RESUME with SUSPEND.
  let gone = true
  const { resume: original } = parties.acceptor
  parties.acceptor.resume = (incoming, subject) => {
    if (gone) farLink.send(encodeFrame(FrameType.SUSPEND, incoming.number))
    else original.call(parties.acceptor, incoming, subject)
  }
  const began = parties.clock.now()
  farLink.send(encodeFrame(FrameType.SUSPEND, 1))
  await parties.pass(10_000)
  const gaps = asked.map((at, index) => at - (asked[index - 1] ?? began))
  assert.deepEqual(gaps.slice(0, 6), [50, 100, 200, 400, 800, 1_600])
  assert.ok(gaps.slice(6).every((gap) => gap === 2_000))
  gone = false
  await parties.pass(2_000)
  assert.equal(near.resumptions, 1)
  const since = asked.length
  const number = near.stream.link === undefined ? 0 : 1 + 2 * since
  const suspendedAt = parties.clock.now()
  farLink.send(encodeFrame(FrameType.SUSPEND, number))
  await parties.pass(1_000)
  assert.equal(asked[since]! - suspendedAt, 50)
  assert.equal(near.resumptions, 2)
})

test('a relay that never finds the path leaves the opener its resume window and no more', async () => {
  const parties = new Parties()
  const { far: farLink } = await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  parties.acceptor.resume = (incoming) => farLink.send(encodeFrame(FrameType.SUSPEND, incoming.number))
  farLink.send(encodeFrame(FrameType.SUSPEND, 1))
  await parties.pass(SETTINGS.resumeMs - 1_000)
  assert.ok(!near.closed)
  await parties.pass(2_000)
  assert.equal(near.error?.code, 'RESUME_EXPIRED')
})

test('a window survives its moves: it never shrinks, and what was granted holds', async () => {
  const parties = new Parties({ takes: false, latencyMs: () => 5 })
  await parties.connect()
  await parties.pass(100)
  const near = parties.open()
  await parties.pass(100)
  const bytes = pattern(MIB)
  near.stream.write(bytes)
  near.stream.end()
  const far = parties.accepted[0]!
  for (let round = 0; round < 30; round++) {
    await parties.connect()
    await parties.pass(40)
    far.take(Math.min(far.unreadBytes, 60_000))
  }
  far.takes = true
  far.take()
  await parties.pass(5_000)
  assert.ok(far.bytes.equals(bytes))
  assert.equal(near.error, undefined)
})

test('256 streams survive fifty cuts in a row; then nothing is left', async () => {
  const parties = new Parties({
    openerSettings: { windowBytes: 65_536 },
    acceptorSettings: { windowBytes: 65_536 },
  })
  let { pair } = await parties.connect()
  const streams = Array.from({ length: 256 }, () => parties.open())
  await parties.pass(100)
  for (let round = 0; round < 50; round++) {
    for (const heard of streams) heard.stream.write(Uint8Array.of(round))
    await parties.pass(1)
    pair.cut()
    pair = (await parties.connect()).pair
    // Resumes are limited: a link that lives for a while is what a correct opener has.
    await parties.pass(100)
  }
  for (const heard of streams) heard.stream.end()
  for (const heard of parties.accepted) heard.stream.end()
  await parties.pass(1_000)
  const expected = Buffer.from(Array.from({ length: 50 }, (_, round) => round))
  for (const far of parties.accepted) assert.ok(far.bytes.equals(expected))
  assert.equal(parties.accepted.length, 256)
  assert.deepEqual(parties.leftovers(), NOTHING)
  assert.ok(streams.every(({ closed, error }) => closed && error === undefined))
})

test('an opener that is closed ends its streams, tells the peer, and opens nothing more', async () => {
  const parties = new Parties()
  const { near: link } = await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  const error = new TunnelError('ABORTED', 'disconnected', { hop: 'link' })
  parties.opener.close(error)
  assert.equal(near.error, error)
  assert.throws(() => parties.open(), error)
  await parties.pass(10)
  assert.equal(parties.accepted[0]!.error?.code, 'ABORTED')
  assert.equal(link.streamCount, 0)
  link.close()
  await parties.pass(10)
  assert.equal(parties.clock.pending, 0)
})

test('an acceptor that is closed ends its streams and refuses what comes with the same error', async () => {
  const { parties, peer } = await rawClient()
  peer.open(1)
  await parties.pass(10)
  parties.acceptor.close(new TunnelError('SHUTTING_DOWN', 'leaving', { hop: 'link' }))
  peer.open(3)
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'SHUTTING_DOWN')
  assert.equal(peer.resetCode(3), 'SHUTTING_DOWN')
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('streams that are over are remembered within a bound, and no more', async () => {
  const { parties, peer } = await rawClient()
  for (let number = 1; number < 2 * 5_000; number += 2) {
    peer.open(number)
    peer.json(FrameType.RESET, number, { code: 'ABORTED', message: '' })
    if (number % 501 === 0) await parties.pass(1)
  }
  await parties.pass(10)
  assert.equal(parties.accepted.length, 5_000)
  assert.equal(parties.acceptor.remembered, 4_096)
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('a peer that gives a stream up at the end of the resume window has the last word', async () => {
  const parties = new Parties()
  const { far: farLink } = await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  const asked: number[] = []
  parties.acceptor.resume = (incoming) => void asked.push(incoming.number)
  farLink.send(encodeFrame(FrameType.SUSPEND, 1))
  await parties.pass(SETTINGS.resumeMs + 100)
  assert.ok(!near.closed)
  const lost = { code: 'AGENT_LOST', message: 'the agent did not come back' }
  farLink.send(encodeJson(FrameType.RESET, asked.at(-1) ?? 0, lost))
  await parties.pass(10)
  assert.equal(near.error?.code, 'AGENT_LOST')
})

test('a stream that moves from a link that lives, and is never answered, has its resume window and no more', async () => {
  const parties = new Parties()
  const { near: older } = await parties.connect()
  const moved = parties.open()
  await parties.pass(100)
  // Another proxy that holds the RESUME: the agent is not there.
  const pair = parties.newPair()
  const peer = new RawPeer(pair.b)
  const near: Link = linkOf(pair.a, parties.clock, true, { ready: () => parties.opener.attach(near) })
  await parties.pass(1)
  peer.hello(helloOf('proxy'))
  await parties.pass(1)
  older.closeWhenIdle(10_000)
  assert.equal(peer.of(FrameType.RESUME).length, 1)
  await parties.pass(SETTINGS.resumeMs + 1_000)
  assert.equal(moved.error?.code, 'RESUME_EXPIRED')
})

test("an inspected stream's OPEN that another proxy had is not sent again, whatever this one remembers", async () => {
  const parties = new Parties()
  const executed: string[] = []
  const proxyOf = (name: string) =>
    new StreamAcceptor({
      hop: 'agent',
      settings: SETTINGS,
      clock: parties.clock,
      onStream: () => executed.push(name),
    })
  const [first, second] = [proxyOf('first'), proxyOf('second')]
  // Both have known this user for a while.
  await parties.pass(60_000)
  const connect = async (acceptor: StreamAcceptor, instance: string): Promise<MemoryPair> => {
    const pair = parties.newPair()
    const handlers: LinkHandlers = {
      open: (open) => acceptor.open(open, 'anna'),
      resume: (resume) => acceptor.resume(resume, 'anna'),
    }
    linkOf(pair.b, parties.clock, false, handlers, helloOf('proxy', { instance }))
    const near: Link = linkOf(pair.a, parties.clock, true, { ready: () => parties.opener.attach(near) })
    await parties.pass(10)
    return pair
  }
  const pair = await connect(first, 'first')
  const payment = parties.open({ kind: 'http', http: { method: 'POST', path: '/pay', headers: [] } })
  await parties.pass(1_000)
  pair.cut()
  await connect(second, 'second')
  await parties.pass(1_000)
  assert.deepEqual(executed, ['first'])
  assert.equal(payment.error?.code, 'UNKNOWN_STREAM')
})

test('an OPEN that never left its link is sent on the next one, to whichever proxy that leads', async () => {
  const parties = new Parties()
  const { pair } = await parties.connect(helloOf('client'), helloOf('proxy', { instance: 'one' }))
  const bulk = parties.open()
  await parties.pass(10)
  pair.a.stall()
  bulk.stream.write(new Uint8Array(250 * KIB))
  await parties.pass(10)
  const waiting = parties.open({ kind: 'tcp', target: '127.0.0.1:5432' })
  await parties.pass(10)
  assert.equal(waiting.stream.openedAtMs, undefined)
  await parties.connect(helloOf('client'), helloOf('proxy', { instance: 'two' }))
  pair.cut()
  await parties.pass(1_000)
  assert.ok(waiting.accepted)
})

test('a resume that names another kind, machine or target than the stream has is of no stream', async () => {
  const { parties, peer } = await rawClient()
  const was = { kind: 'tcp', machine: 'home', target: '10.0.0.1:5432' }
  peer.open(1, was)
  await parties.pass(10)
  const lies = [{ kind: 'http' }, { machine: 'away' }, { target: '127.0.0.1:80' }, { target: undefined }]
  for (const [index, lie] of lies.entries()) {
    const head = { id: idOf(1), received: 0, limit: 262_144, attempt: 1, ...was, ...lie }
    peer.json(FrameType.RESUME, 3 + 2 * index, head)
    await parties.pass(10)
    assert.equal(peer.resetCode(3 + 2 * index), 'UNKNOWN_STREAM', JSON.stringify(lie))
  }
  peer.json(FrameType.RESUME, 21, { id: idOf(1), received: 0, limit: 262_144, attempt: 1, ...was })
  await parties.pass(10)
  assert.equal(peer.of(FrameType.RESUMED, 21).length, 1)
})

test('a stream that a proxy led to another target resumes by the one that its opener named', async () => {
  const { parties, peer } = await rawClient(new Parties({ trust: 'replica' }))
  peer.open(1, { target: '127.0.0.1:2222', asked: '' })
  await parties.pass(10)
  const resume = { id: idOf(1), kind: 'ssh', machine: 'home', received: 0, limit: 262_144 }
  peer.json(FrameType.RESUME, 3, { ...resume, target: '127.0.0.1:2222', attempt: 1 })
  peer.json(FrameType.RESUME, 5, { ...resume, attempt: 2 })
  await parties.pass(10)
  assert.equal(peer.resetCode(3), 'UNKNOWN_STREAM')
  assert.equal(peer.of(FrameType.RESUMED, 5).length, 1)
})

test('a last word that was cut in its midst is said again as a later attempt', async () => {
  const parties = new Parties()
  const { pair } = await parties.connect()
  const given = parties.open()
  await parties.pass(50)
  pair.cut()
  await parties.pass(10)
  given.stream.reset(new TunnelError('ABORTED', 'Ctrl-C', { hop: 'link' }))
  const half = parties.newPair()
  parties.listen(half.b)
  const { receiver } = half.b
  const message = receiver!.message.bind(receiver)
  receiver!.message = (frame) => {
    if ((frame[0]! & TYPE_MASK) === FrameType.RESET) half.cut()
    else message(frame)
  }
  const near: Link = linkOf(half.a, parties.clock, true, { ready: () => parties.opener.attach(near) })
  await parties.pass(50)
  assert.equal(parties.acceptor.size, 1)
  await parties.connect()
  await parties.pass(1_000)
  assert.equal(parties.accepted[0]?.error?.code, 'ABORTED')
})

test('a consumer may reset in `suspended`, and the opener asks for nothing more', async () => {
  const parties = new Parties()
  const { far } = await parties.connect()
  const stream = parties.opener.open({ kind: 'ssh', machine: 'home' })
  stream.handle({ suspended: () => stream.reset(new TunnelError('ABORTED', 'not waiting', { hop: 'link' })) })
  await parties.pass(10)
  far.send(encodeFrame(FrameType.SUSPEND, 1))
  await parties.pass(SETTINGS.resumeMs * 2)
  assert.equal(parties.opener.size, 0)
  parties.opener.close(new TunnelError('ABORTED', 'over', { hop: 'link' }))
})

test('streams that wait for their path keep their places on the link', async () => {
  const parties = new Parties()
  const limits = { maxFrameBytes: MIB, maxStreams: 4 }
  const { far } = await parties.connect(helloOf('client'), helloOf('proxy', { limits }))
  const old = [1, 2, 3, 4].map(() => parties.open())
  await parties.pass(100)
  for (const number of [1, 3, 5, 7]) far.send(encodeFrame(FrameType.SUSPEND, number))
  for (const stream of [...parties.acceptor.streams]) stream.suspend()
  await parties.pass(5)
  assert.throws(() => parties.open(), { code: 'TOO_MANY_STREAMS' })
  await parties.pass(500)
  assert.ok(old.every(({ stream }) => stream.state === 'open' && !stream.suspended))
})
