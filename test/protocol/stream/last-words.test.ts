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
import type { Link } from '../../../protocol/link/link.ts'
import { idOf, jsonOf, linkOf, NOTHING, Parties, rawClient, SETTINGS } from '../parties.ts'
import { resume } from './resuming.ts'

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

for (const whose of ['acceptor', 'opener'] as const) {
  test(`the ${whose}'s last acknowledgement, lost with its link, is given again`, async () => {
    const parties = new Parties({ latencyMs: () => 15 })
    const { pair } = await parties.connect()
    await parties.pass(100)
    const near = parties.open()
    await parties.pass(100)
    const far = parties.accepted[0]!
    const [first, last] = whose === 'acceptor' ? [far, near] : [near, far]
    first.stream.end()
    await parties.pass(100)
    last.stream.end(Buffer.from('last'))
    await parties.clock.run(parties.clock.now() + 1_000, () => first.closed)
    assert.ok(first.closed && !last.closed)
    pair.cut()
    const links = await parties.connect()
    await parties.pass(100)
    assert.ok(last.closed)
    assert.equal(last.error, undefined)
    assert.deepEqual(parties.leftovers(), NOTHING)
    assert.equal(links.near.streamCount + links.far.streamCount, 0)
  })
}

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
