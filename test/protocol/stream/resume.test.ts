import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { encodeFrame, FrameType } from '../../../protocol/codec/frames.ts'
import type { Link } from '../../../protocol/link/link.ts'
import { StreamAcceptor } from '../../../protocol/stream/acceptor.ts'
import { helloOf, KIB, linkOf, MIB, NOTHING, Parties, RawPeer, rawClient, SETTINGS } from '../parties.ts'
import { pattern } from './resuming.ts'

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
