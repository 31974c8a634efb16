import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeFrame, FrameType, MAX_DATA_BYTES } from '../../../protocol/codec/frames.ts'
import { KIB, Parties, rawClient } from '../parties.ts'

test('a keystroke waits behind what is in the socket and not behind the megabyte that is queued', async () => {
  const parties = new Parties({ latencyMs: () => 10 })
  const { pair } = await parties.connect()
  await parties.pass(100)
  const bulk = parties.open({ priority: 'low' })
  const shell = parties.open({ priority: 'high' })
  await parties.pass(1_000)
  const sizes: number[] = []
  pair.a.onSend = (frame) => sizes.push(frame.length)
  bulk.stream.write(new Uint8Array(250 * KIB))
  await parties.pass(1)
  assert.deepEqual(sizes, [MAX_DATA_BYTES + 5, MAX_DATA_BYTES + 5], 'more is not handed to the socket')
  shell.stream.write(Buffer.from('k'))
  await parties.pass(100)
  assert.equal(sizes[2], 6)
  assert.ok(sizes.length > 4)
})

test('while something interactive shares the link, bulk goes in smaller frames', async () => {
  const parties = new Parties()
  const { pair } = await parties.connect()
  const bulk = parties.open({ priority: 'low' })
  const shell = parties.open({ priority: 'high' })
  await parties.pass(10)
  const sizes: number[] = []
  shell.stream.write(Buffer.from('k'))
  await parties.pass(1)
  pair.a.onSend = (frame) => sizes.push(frame.length)
  bulk.stream.write(new Uint8Array(100 * KIB))
  await parties.pass(1)
  assert.ok(Math.max(...sizes) <= 16 * KIB + 5, `${sizes}`)
  await parties.pass(1_000)
  sizes.length = 0
  bulk.stream.write(new Uint8Array(100 * KIB))
  await parties.pass(1)
  assert.ok(Math.max(...sizes) > 32 * KIB, `${sizes}`)
})

test('an acknowledgement that matters to nobody yet goes by and by, one for many frames', async () => {
  const { parties, peer } = await rawClient()
  peer.open(1)
  await parties.pass(10)
  for (let count = 0; count < 20; count++) peer.send(encodeFrame(FrameType.DATA, 1, new Uint8Array(100)))
  await parties.pass(50)
  assert.equal(peer.of(FrameType.WINDOW, 1).length, 0)
  await parties.pass(60)
  assert.equal(peer.of(FrameType.WINDOW, 1).length, 1)
  assert.equal(Buffer.from(peer.of(FrameType.WINDOW, 1)[0]!.body).readUIntBE(0, 6), 20 * 105)
})

test('an acknowledgement of a quarter of the window goes at once', async () => {
  const { parties, peer } = await rawClient()
  peer.open(1)
  await parties.pass(10)
  peer.send(encodeFrame(FrameType.DATA, 1, new Uint8Array(64 * KIB)))
  await parties.pass(1)
  assert.equal(peer.of(FrameType.WINDOW, 1).length, 1)
})
