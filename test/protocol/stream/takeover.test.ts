import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeFrame, encodeWindow, FrameType } from '../../../protocol/codec/frames.ts'
import { idOf, jsonOf, Parties, rawClient, SETTINGS } from '../parties.ts'
import { resume } from './resuming.ts'

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

test('an attempt that comes when a later one has seen the stream to its end is stale, and its place is free', async () => {
  const { parties, peer: first } = await rawClient()
  first.open(1)
  await parties.pass(10)
  const { peer } = await rawClient(parties)
  resume(peer, 1, { attempt: 2 })
  await parties.pass(10)
  const { stream } = parties.accepted[0]!
  stream.end()
  peer.send(encodeFrame(FrameType.END, 1))
  await parties.pass(10)
  peer.send(encodeWindow(1, { received: stream.sentOffset, limit: SETTINGS.windowBytes }))
  await parties.pass(10)
  assert.ok(parties.accepted[0]!.closed)

  const { peer: stale } = await rawClient(parties)
  resume(stale, 1, { attempt: 1 })
  resume(stale, 3, { attempt: 3, received: stream.sentOffset })
  await parties.pass(10)
  assert.equal(stale.resetCode(1), 'TAKEN_OVER')
  assert.equal(stale.of(FrameType.RESUMED, 1).length, 0)
  // The last word of its opener is a later attempt.
  assert.equal(stale.of(FrameType.RESUMED, 3).length, 1)
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
