import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { encodeFrame, encodeJson, encodeWindow, FrameType } from '../../../protocol/codec/frames.ts'
import type { Hello } from '../../../protocol/codec/hello.ts'
import {
  Heard,
  helloOf,
  idOf,
  linkOf,
  MIB,
  NOTHING,
  Parties,
  RawPeer,
  rawClient,
  SETTINGS,
} from '../parties.ts'

test('the dialler says HELLO first; after the answer both know each other', async () => {
  const parties = new Parties()
  const pair = parties.newPair()
  const ready: string[] = []
  const note = (peer: Hello) => void ready.push(peer.role)
  const far = linkOf(pair.b, parties.clock, false, { ready: note })
  const near = linkOf(pair.a, parties.clock, true, { ready: note })
  await parties.pass(1)
  assert.deepEqual(ready, ['client', 'proxy'])
  assert.equal(near.peer?.role, 'proxy')
  assert.equal(far.peer?.role, 'client')
})

test('a listener that admits its peer later says HELLO when it has, and before whatever it said meanwhile', async () => {
  const parties = new Parties()
  const pair = parties.newPair()
  let admit = () => {}
  const admission = new Promise<void>((resolve) => {
    admit = resolve
  })
  const far = linkOf(pair.b, parties.clock, false, { ready: () => admission })
  let ready = false
  const near = linkOf(pair.a, parties.clock, true, {
    ready: () => {
      ready = true
    },
  })
  await parties.pass(100)
  far.goaway({ code: 'SHUTTING_DOWN', message: 'leaving', deadlineMs: 1 })
  await parties.pass(100)
  assert.equal(ready, false)
  admit()
  await parties.pass(100)
  assert.equal(ready, true)
  assert.ok(!near.closed && !far.closed)
})

test('a listener that does not admit its peer says why in place of HELLO', async () => {
  const parties = new Parties()
  const pair = parties.newPair()
  const refused = new TunnelError('POLICY_DENIED', 'not you', { hop: 'link' })
  const far = linkOf(pair.b, parties.clock, false, { ready: () => Promise.reject(refused) })
  const near = linkOf(pair.a, parties.clock, true, { ready: () => assert.fail('it was admitted') })
  await parties.pass(100)
  assert.equal(near.closedWith?.code, 'POLICY_DENIED')
  assert.equal(far.closedWith, refused)
})

const badFrames: [string, Uint8Array, number][] = [
  ['an empty frame', new Uint8Array(0), 4400],
  ['a frame without a whole header', new Uint8Array(4), 4400],
  ['an unknown type', encodeFrame(0x3f, 0), 4400],
  ['a known type with a flag that it has not', encodeFrame(FrameType.WINDOW | 0x80, 1), 4400],
  ['a second HELLO', encodeJson(FrameType.HELLO, 0, helloOf('client')), 4400],
  ['HELLO on a stream', encodeJson(FrameType.HELLO, 1, helloOf('client')), 4400],
  ['DATA on the link itself', encodeFrame(FrameType.DATA, 0), 4400],
  ['DATA on a stream that was never opened', encodeFrame(FrameType.DATA, 99), 4400],
  ['DATA on a number of ours that was never used', encodeFrame(FrameType.DATA, 2), 4400],
  ['OPEN on a number that is ours to give', encodeFrame(FrameType.OPEN, 2), 4400],
  [
    'OPEN whose head is longer than the frame',
    encodeFrame(FrameType.OPEN, 1, Buffer.from([1, 0, 0, 0])),
    4400,
  ],
  ['OPEN whose head is no JSON', encodeFrame(FrameType.OPEN, 1, Buffer.from([0, 0, 0, 1, 0x7b])), 4400],
  ['RESUME whose body is no JSON', encodeFrame(FrameType.RESUME, 1, Buffer.from('no')), 4400],
  ['PING of another length', encodeFrame(FrameType.PING, 0, new Uint8Array(7)), 4400],
  ['PONG of another length', encodeFrame(FrameType.PONG, 0, new Uint8Array(9)), 4400],
  ['AUTH without a token', encodeJson(FrameType.AUTH, 0, { token: 1 }), 4400],
  ['GOAWAY that is no JSON', encodeFrame(FrameType.GOAWAY, 0, Buffer.from([0xff])), 4400],
  ['a frame over the limit', encodeFrame(FrameType.DATA, 1, new Uint8Array(MIB)), 1009],
]
for (const [what, frame, code] of badFrames) {
  test(`${what} closes the link with ${code} and leaves nothing`, async () => {
    const { parties, peer, link } = await rawClient()
    peer.send(frame)
    await parties.pass(10)
    assert.equal(peer.closedWith?.code, code, peer.closedWith?.reason)
    assert.ok(link.closed)
    await parties.pass(SETTINGS.resumeMs + 1)
    assert.deepEqual(parties.leftovers(), NOTHING)
    assert.equal(parties.clock.pending, 0, 'timers')
  })
}

test('a text message closes the link with 4400', async () => {
  const { parties, peer } = await rawClient()
  peer.transport.sendText()
  await parties.pass(10)
  assert.equal(peer.closedWith?.code, 4400)
})

test('a number that was used once is never used again', async () => {
  const { parties, peer } = await rawClient()
  peer.open(5)
  peer.json(FrameType.RESET, 5, { code: 'ABORTED', message: '' })
  await parties.pass(10)
  assert.deepEqual(parties.linkErrors, [])
  peer.open(3)
  await parties.pass(10)
  assert.equal(peer.closedWith?.code, 4400)
})

test('a late word to a stream that is over is dropped', async () => {
  const { parties, peer } = await rawClient()
  peer.open(1)
  peer.json(FrameType.RESET, 1, { code: 'ABORTED', message: '' })
  peer.send(encodeFrame(FrameType.DATA, 1, new Uint8Array(10)))
  peer.send(encodeWindow(1, { received: 5, limit: 9 }))
  await parties.pass(10)
  assert.deepEqual(parties.linkErrors, [])
})

test('before HELLO nothing else is spoken, and another version is told 4406', async () => {
  const first = async (send: (peer: RawPeer) => void): Promise<number | undefined> => {
    const parties = new Parties()
    const pair = parties.newPair()
    parties.listen(pair.b)
    const peer = new RawPeer(pair.a)
    send(peer)
    await parties.pass(10)
    assert.equal(parties.clock.pending, 0)
    return peer.closedWith?.code
  }
  assert.equal(await first((peer) => peer.open(1)), 4400)
  assert.equal(await first((peer) => peer.send(encodeFrame(FrameType.PING, 0, new Uint8Array(8)))), 4400)
  assert.equal(await first((peer) => peer.hello({ ...helloOf('client'), version: 2 })), 4406)
  assert.equal(await first((peer) => peer.hello({ role: 'client', version: 1 } as Hello)), 4400)
})

test('a peer that never says HELLO is closed after its time', async () => {
  const parties = new Parties()
  const pair = parties.newPair()
  parties.listen(pair.b)
  const peer = new RawPeer(pair.a)
  await parties.pass(9_000)
  assert.deepEqual(parties.linkErrors, [])
  await parties.pass(1_100)
  assert.equal(peer.closedWith?.code, 4408)
})

test("what one stream's head has wrong ends that stream alone", async () => {
  const { parties, peer } = await rawClient()
  peer.open(1, { kind: 'telnet' })
  peer.open(3, { window: 2 ** 48 })
  peer.open(5)
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'FRAME_INVALID')
  assert.equal(peer.resetCode(3), 'FRAME_INVALID')
  assert.equal(peer.of(FrameType.ACCEPT, 5).length, 1)
  assert.deepEqual(parties.linkErrors, [])
})

test('a peer may have so many streams and no more; a refused one costs nothing', async () => {
  const { parties, peer } = await rawClient()
  for (let number = 1; number < 2 * 257; number += 2) peer.open(number)
  await parties.pass(10)
  assert.equal(parties.acceptor.size, 256)
  assert.equal(peer.resetCode(513), 'TOO_MANY_STREAMS')
  peer.json(FrameType.RESET, 1, { code: 'ABORTED', message: '' })
  peer.open(515)
  await parties.pass(10)
  assert.equal(peer.of(FrameType.ACCEPT, 515).length, 1)
})

test('a link without handlers refuses streams instead of leaving them without an answer', async () => {
  const parties = new Parties()
  const pair = parties.newPair()
  linkOf(pair.b, parties.clock, false)
  const peer = new RawPeer(pair.a)
  peer.hello()
  peer.open(1)
  peer.json(FrameType.RESUME, 3, {
    id: idOf(3),
    kind: 'ssh',
    machine: 'home',
    received: 0,
    limit: 0,
    attempt: 1,
  })
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'FORBIDDEN')
  assert.equal(peer.resetCode(3), 'FORBIDDEN')
})

test('a handler that throws refuses the stream and leaves nothing behind', async () => {
  const parties = new Parties({
    onStream: () => {
      throw new TypeError('a mistake')
    },
  })
  const { peer } = await rawClient(parties)
  peer.open(1)
  await parties.pass(10)
  assert.equal(peer.resetCode(1), 'INTERNAL')
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('a thousand resumes a second are too many: 4429', async () => {
  const { parties, peer } = await rawClient()
  let number = 1
  for (let second = 0; second < 5 && peer.closedWith === undefined; second++) {
    for (let count = 0; count < 1_000; count++, number += 2) {
      peer.json(FrameType.RESUME, number, {
        id: idOf(1),
        kind: 'ssh',
        machine: 'home',
        received: 0,
        limit: 0,
        attempt: count,
      })
    }
    await parties.pass(1_000)
  }
  assert.equal(peer.closedWith?.code, 4429)
  assert.ok(peer.received.every(({ type }) => type === FrameType.RESET || type === FrameType.HELLO))
})

test('whatever one of its users asks for without end, the link of an agent to its proxy lives', async () => {
  const parties = new Parties()
  const pair = parties.newPair()
  const refuse = (): never => {
    throw new TunnelError('UNKNOWN_STREAM', 'not known', { hop: 'agent' })
  }
  linkOf(pair.b, parties.clock, true, { open: refuse, resume: refuse }, helloOf('agent'))
  const proxy = new RawPeer(pair.a)
  proxy.hello(helloOf('proxy'))
  const head = { id: idOf(1), kind: 'ssh', machine: 'home', received: 0, limit: 0, attempt: 1 }
  for (let number = 2; number <= 20_000; number += 2) proxy.json(FrameType.RESUME, number, head)
  await parties.pass(100)
  assert.equal(proxy.closedWith, undefined)
  assert.equal(proxy.of(FrameType.RESET).length, 10_000)
})

test('a resume of every stream that a link may carry, and a few times over, is not too many', async () => {
  const { parties, peer } = await rawClient()
  for (let number = 1; number < 2 * 1_000; number += 2) {
    peer.json(FrameType.RESUME, number, {
      id: idOf(number),
      kind: 'ssh',
      machine: 'home',
      received: 0,
      limit: 0,
      attempt: 1,
    })
  }
  await parties.pass(10)
  assert.deepEqual(parties.linkErrors, [])
})

test('whatever bytes come, in whatever order, nothing throws past the link and nothing is left', async () => {
  const type = fc.oneof(fc.constantFrom(...Object.values(FrameType)), fc.nat(255))
  const flags = fc.constantFrom(0, 0, 0, 0x80, 0x40, 0xc0)
  const number = fc.oneof(fc.constantFrom(0, 1, 2, 3, 5), fc.nat(0xffffffff))
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value))),
    fc.constantFrom(
      Buffer.from(
        JSON.stringify({ id: idOf(1), kind: 'ssh', machine: 'home', received: 0, limit: 9, attempt: 1 }),
      ),
      Buffer.from(JSON.stringify({ received: 0, limit: 2 ** 40 })),
      Buffer.from(JSON.stringify({ exit: { code: 0 } })),
      Buffer.from(encodeWindow(1, { received: 0, limit: 300_000 }).subarray(5)),
      Buffer.from(encodeWindow(1, { received: 2 ** 47, limit: 2 ** 48 - 1 }).subarray(5)),
    ),
  )
  const frame = fc.tuple(type, flags, number, body).map(([t, f, n, b]) => encodeFrame((t | f) & 0xff, n, b))
  const script = fc.array(fc.oneof({ weight: 5, arbitrary: frame }, fc.uint8Array({ maxLength: 20 })), {
    minLength: 1,
    maxLength: 30,
  })
  await fc.assert(
    fc.asyncProperty(script, fc.boolean(), async (frames, opens) => {
      const { parties, peer, link } = await rawClient()
      if (opens) peer.open(1)
      for (const bytes of frames) peer.send(bytes)
      await parties.pass(10)
      if (link.closed)
        assert.ok([4400, 4406, 1009].includes(peer.closedWith?.code ?? 0), peer.closedWith?.reason)
      const codes = peer.of(FrameType.RESET).map((reset) => Buffer.from(reset.body).toString())
      assert.ok(!codes.some((code) => code.includes('INTERNAL')), codes.join())
      peer.transport.terminate()
      await parties.pass(SETTINGS.resumeMs + 1)
      assert.deepEqual(parties.leftovers(), NOTHING)
      assert.equal(link.streamCount, 0)
      assert.equal(parties.clock.pending, 0)
    }),
    { numRuns: 300 },
  )
})

test('GOAWAY and AUTH reach their handlers, and a deadline is one that can be waited for', async () => {
  const goaways: unknown[] = []
  const tokens: string[] = []
  const { parties, peer } = await rawClient(new Parties(), {
    goaway: (goaway) => goaways.push(goaway),
    auth: (token) => tokens.push(token),
  })
  peer.json(FrameType.AUTH, 0, { token: 'fresh' })
  peer.json(FrameType.GOAWAY, 0, { code: 'SHUTTING_DOWN', message: 'm', hop: 'proxy', deadlineMs: 5_000 })
  peer.json(FrameType.GOAWAY, 0, { code: 'SHUTTING_DOWN', message: 'm', deadlineMs: 1e300 })
  await parties.pass(10)
  assert.deepEqual(tokens, ['fresh'])
  assert.deepEqual(goaways, [
    { code: 'SHUTTING_DOWN', message: 'm', hop: 'proxy', deadlineMs: 5_000 },
    { code: 'SHUTTING_DOWN', message: 'm', hop: 'link', deadlineMs: 0 },
  ])
})

test('what joins a link that has ended is told so', async () => {
  const parties = new Parties()
  const { near } = await parties.connect()
  near.terminate()
  const heard = new Heard(parties.opener.open({ kind: 'ssh', machine: 'home' }))
  heard.stream.openOn(near)
  await parties.pass(10)
  assert.ok(heard.stream.suspended)
  await parties.pass(SETTINGS.resumeMs + 1)
  assert.equal(heard.error?.code, 'RESUME_EXPIRED')
})
