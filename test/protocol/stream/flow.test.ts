import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { encodeFrame, encodeJson, FrameType } from '../../../protocol/codec/frames.ts'
import type { TunnelStream } from '../../../protocol/stream/stream.ts'
import { Heard, helloOf, idOf, KIB, MIB, NOTHING, Parties, rawClient, SETTINGS } from '../parties.ts'

const ABORTED = new TunnelError('ABORTED', 'given up', { hop: 'link' })

test('what nobody takes yet is bounded by the window, whatever kind of frame it is', async () => {
  const streams: TunnelStream[] = []
  const parties = new Parties({ onStream: (stream) => streams.push(stream) })
  const { peer } = await rawClient(parties)
  const event = encodeJson(FrameType.EVENT, 1, { signal: 'x'.repeat(30_000) })
  peer.open(1)
  for (let count = 0; count < 20; count++) peer.send(event)
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'FRAME_INVALID')
  // Frames that carry nothing are kept by nobody.
  peer.open(3)
  for (let count = 0; count < 1_000; count++) peer.send(encodeFrame(FrameType.DATA, 3))
  await parties.pass(10)
  const far = new Heard(streams[1]!)
  assert.deepEqual(far.order, [])
  // Those that were within it give their credit back when they are taken.
  peer.open(5)
  for (let count = 0; count < 8; count++) peer.send(event.with(4, 5))
  await parties.pass(200)
  new Heard(streams[2]!)
  await parties.pass(200)
  const limit = Buffer.from(peer.of(FrameType.WINDOW, 5).at(-1)!.body).readUIntBE(6, 6)
  assert.ok(limit > SETTINGS.windowBytes + 5 * event.length, `${limit}`)
})

test('a window grows while the consumer keeps up and the window is the brake, and only then', async () => {
  const run = async (takes: boolean): Promise<{ far: Heard; written: number; parties: Parties }> => {
    const parties = new Parties({ takes, latencyMs: () => 20 })
    await parties.connect()
    await parties.pass(100)
    const near = parties.open()
    await parties.pass(100)
    let written = 0
    const write = (): void => {
      while (written < 64 * MIB && near.stream.write(new Uint8Array(256 * KIB))) written += 256 * KIB
      written += 256 * KIB
    }
    near.stream.handle({ drained: write })
    write()
    await parties.pass(3_000)
    return { far: parties.accepted[0]!, written, parties }
  }
  const eager = await run(true)
  assert.ok(eager.far.stream.windowBytes >= 2 * MIB, `${eager.far.stream.windowBytes}`)
  assert.ok(eager.far.stream.windowBytes <= 8 * MIB)
  assert.ok(eager.parties.acceptorBudget.usedBytes <= SETTINGS.userBudgetBytes)
  const slow = await run(false)
  assert.ok(slow.far.stream.windowBytes <= 512 * KIB, `${slow.far.stream.windowBytes}`)
  assert.ok(slow.far.unreadBytes <= slow.far.stream.windowBytes)
  assert.ok(slow.written < MIB, 'the writer was held up')
})

test('a full window is backpressure and never death: six hours with a stalled consumer', async () => {
  const parties = new Parties({ takes: false, latencyMs: () => 20 })
  const { near: link } = await parties.connect()
  await parties.pass(100)
  const near = parties.open()
  await parties.pass(100)
  const other = parties.open()
  await parties.pass(100)
  const [far, otherFar] = [parties.accepted[0]!, parties.accepted[1]!]
  assert.equal(near.stream.write(new Uint8Array(MIB)), false)
  await parties.pass(6 * 3_600_000)
  assert.ok(!near.closed && !far.closed && !link.closed)
  assert.equal(near.stream.heldBytes > 700 * KIB, true, 'the rest waits at the writer')
  other.stream.write(Buffer.from('not held up'))
  await parties.pass(100)
  assert.equal(otherFar.bytes.toString(), 'not held up', 'a slow reader slows its own stream alone')
  far.takes = true
  far.take()
  await parties.pass(10_000)
  assert.equal(far.bytes.length, MIB)
  assert.equal(near.drained, 1)
})

test('a peer that acknowledges nothing for ever loses the stream to TIMEOUT', async () => {
  const { parties, peer, link } = await rawClient()
  peer.open(1)
  await parties.pass(10)
  parties.accepted[0]!.stream.write(new Uint8Array(1_000))
  // It answers every PING: the link lives.
  const answer = (frame: Uint8Array): void => {
    if (frame[0] === FrameType.PING) peer.send(encodeFrame(FrameType.PONG, 0, frame.slice(5)))
  }
  peer.transport.peer!.onSend = answer
  await parties.pass(119_000)
  assert.ok(!parties.accepted[0]!.closed)
  await parties.pass(100_000)
  assert.equal(parties.accepted[0]!.error?.code, 'TIMEOUT')
  assert.equal(peer.resetCode(1), 'TIMEOUT')
  assert.ok(!link.closed)
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('what waits on the way of a link that is not read for long is not taken for a broken peer', async () => {
  const parties = new Parties()
  const { far: farLink } = await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  farLink.hold()
  near.stream.write(new Uint8Array(1_000))
  await parties.pass(1_800_000)
  assert.equal(near.error, undefined)
  farLink.unhold()
  await parties.pass(1_000)
  assert.equal(parties.accepted[0]!.bytes.length, 1_000)
  await parties.pass(1_800_000)
  assert.equal(near.error, undefined)
})

test('a memory budget that is used up refuses streams on either side', async () => {
  const parties = new Parties()
  await parties.connect(
    helloOf('client'),
    helloOf('proxy', { limits: { maxFrameBytes: MIB, maxStreams: 1_000 } }),
  )
  const opened = Array.from({ length: 256 }, () => parties.open())
  assert.throws(() => parties.open(), { code: 'TOO_MANY_STREAMS' })
  await parties.pass(100)
  assert.equal(parties.acceptorBudget.usedBytes, SETTINGS.userBudgetBytes)
  const { peer } = await rawClient(parties)
  peer.open(1, { id: idOf(999) })
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'TOO_MANY_STREAMS')
  for (const { stream } of opened) stream.reset(ABORTED)
  await parties.pass(10)
  assert.deepEqual(parties.leftovers(), NOTHING)
})
