import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { END_FLAG, encodeFrame, encodeHead, encodeWindow, FrameType } from '../../../protocol/codec/frames.ts'
import type { TunnelStream } from '../../../protocol/stream/stream.ts'
import { Heard, KIB, NOTHING, Parties, type RawPeer, rawClient, SETTINGS } from '../parties.ts'

const ABORTED = new TunnelError('ABORTED', 'given up', { hop: 'link' })

test('any chunking and interleaving, with cuts in between, gives the same bytes both ways', async () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ who: fc.boolean(), size: fc.integer({ min: 1, max: 40_000 }) }) },
    { weight: 2, arbitrary: fc.record({ who: fc.boolean(), aux: fc.integer({ min: 1, max: 5_000 }) }) },
    { weight: 3, arbitrary: fc.record({ pass: fc.integer({ min: 1, max: 300 }) }) },
    { weight: 1, arbitrary: fc.constant('cut' as const) },
    { weight: 1, arbitrary: fc.constant('move' as const) },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.boolean(), async (script, takes) => {
      const parties = new Parties({
        takes,
        latencyMs: () => 7,
        openerSettings: { windowBytes: 65_536 },
        acceptorSettings: { windowBytes: 65_536 },
      })
      let { pair } = await parties.connect()
      await parties.pass(50)
      const near = parties.open()
      near.takes = takes
      await parties.pass(100)
      const far = parties.accepted[0]!
      const written = new Map<Heard, { data: Uint8Array[]; aux: Uint8Array[] }>([
        [near, { data: [], aux: [] }],
        [far, { data: [], aux: [] }],
      ])
      let fill = 0
      for (const action of script) {
        if (action === 'cut') {
          pair.cut()
          pair = (await parties.connect()).pair
        } else if (action === 'move') pair = (await parties.connect()).pair
        else if ('pass' in action) {
          await parties.pass(action.pass)
          for (const heard of [near, far]) if (heard.unreadBytes > 0) heard.take()
        } else {
          const from = action.who ? near : far
          const bytes = new Uint8Array('size' in action ? action.size : action.aux).fill(++fill)
          if ('size' in action) {
            written.get(from)!.data.push(bytes.slice())
            from.stream.write(bytes)
          } else {
            written.get(from)!.aux.push(bytes.slice())
            from.stream.writeAux(bytes)
          }
        }
      }
      near.stream.end()
      far.stream.end()
      near.takes = true
      far.takes = true
      for (const heard of [near, far]) heard.take()
      await parties.pass(SETTINGS.resumeMs + 60_000)
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        assert.ok(to.bytes.equals(Buffer.concat(written.get(from)!.data)), 'other bytes')
        assert.ok(to.aux.equals(Buffer.concat(written.get(from)!.aux)), 'other bytes of the second channel')
        assert.equal(to.order.filter((what) => what === 'ended').length, 1)
        assert.equal(to.error, undefined)
        assert.equal(to.order.at(-1), 'closed')
      }
      assert.equal(parties.accepted.length, 1, 'executed once')
      assert.deepEqual(parties.leftovers(), NOTHING)
    }),
    { numRuns: 60 },
  )
})

test('first bytes and END ride on OPEN, the answer and its END on ACCEPT: one frame each way', async () => {
  const parties = new Parties({
    onStream: (stream) => {
      parties.accepted.push(new Heard(stream))
      stream.accept({ http: { status: 200, statusText: 'OK', headers: [] } }, Buffer.from('answer'), true)
    },
  })
  const { pair } = await parties.connect()
  const sent: number[] = []
  pair.a.onSend = (frame) => sent.push(frame[0]!)
  pair.b.onSend = (frame) => sent.push(frame[0]!)
  const near = parties.open({}, Buffer.from('question'), true)
  await parties.pass(200)
  const far = parties.accepted[0]!
  assert.equal(far.bytes.toString(), 'question')
  assert.deepEqual(far.order, ['data', 'ended', 'closed'])
  assert.equal(near.accepted?.http?.status, 200)
  assert.equal(near.bytes.toString(), 'answer')
  assert.deepEqual(near.order, ['accepted', 'data', 'ended', 'closed'])
  assert.deepEqual(sent, [FrameType.OPEN | END_FLAG, FrameType.ACCEPT | END_FLAG, FrameType.WINDOW])
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('half close: one side ends, the other goes on for as long as it likes', async () => {
  const parties = new Parties()
  await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  const far = parties.accepted[0]!
  near.stream.end(Buffer.from('all'))
  await parties.pass(10_000)
  assert.ok(far.ended && !far.closed)
  for (let round = 0; round < 10; round++) {
    far.stream.write(new Uint8Array(100_000))
    await parties.pass(1_000)
  }
  assert.equal(near.bytes.length, 1_000_000)
  far.stream.end()
  await parties.pass(1_000)
  assert.ok(near.closed && far.closed)
  assert.equal(near.error ?? far.error, undefined)
})

test('data, second channel and events arrive in the order in which they were written', async () => {
  const parties = new Parties()
  await parties.connect()
  const near = parties.open({ kind: 'exec', exec: { command: 'x' } })
  await parties.pass(10)
  const { stream } = parties.accepted[0]!
  stream.write(Buffer.from('a'))
  stream.writeAux(Buffer.from('b'))
  stream.write(Buffer.from('c'))
  stream.event({ exit: { code: 3 } })
  stream.end()
  await parties.pass(10)
  assert.deepEqual(near.order, ['accepted', 'data', 'aux', 'data', 'event', 'ended'])
  assert.deepEqual(near.events, [{ exit: { code: 3 } }])
})

test('what comes before there are handlers is kept, in order', async () => {
  const streams: TunnelStream[] = []
  const parties = new Parties({ onStream: (stream) => streams.push(stream) })
  await parties.connect()
  const near = parties.open({}, Buffer.from('first'))
  await parties.pass(10)
  streams[0]!.accept()
  await parties.pass(10)
  near.stream.write(Buffer.from('second'))
  near.stream.event({ signal: 'INT' })
  near.stream.end()
  await parties.pass(10)
  const far = new Heard(streams[0]!)
  assert.deepEqual(far.order, ['data', 'event', 'ended'])
  assert.equal(String(far.bytes), 'firstsecond')
  far.stream.end()
  await parties.pass(200)
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('`closed` is the last word, whatever a handler does in the midst of a delivery', async () => {
  const budgetLeaks = (parties: Parties) => assert.deepEqual(parties.leftovers(), NOTHING)
  for (const early of [false, true]) {
    const order: string[] = []
    const handle = (stream: TunnelStream): void =>
      stream.handle({
        data: () => {
          order.push('data')
          stream.reset(ABORTED)
        },
        aux: () => order.push('aux'),
        event: () => order.push('event'),
        ended: () => order.push('ended'),
        closed: () => order.push('closed'),
      })
    const streams: TunnelStream[] = []
    const parties = new Parties({
      onStream: (stream) => {
        streams.push(stream)
        if (!early) handle(stream)
      },
    })
    const { peer } = await rawClient(parties)
    peer.open(1)
    // With the flag that asks for a larger window, and END.
    peer.send(encodeFrame(FrameType.DATA | 0xc0, 1, new Uint8Array(10)))
    await parties.pass(10)
    if (early) handle(streams[0]!)
    assert.deepEqual(order, ['data', 'closed'])
    await parties.pass(10)
    assert.equal(peer.resetCode(1), 'ABORTED')
    budgetLeaks(parties)
  }
})

test("an opener's handler may reset in `accepted`: nothing is delivered after, nothing leaks", async () => {
  const parties = new Parties({
    onStream: (stream) => stream.accept({}, Buffer.from('first'), true),
  })
  await parties.connect()
  const order: string[] = []
  const stream = parties.opener.open({ kind: 'ssh', machine: 'home' })
  stream.handle({
    accepted: () => {
      order.push('accepted')
      stream.reset(ABORTED)
    },
    data: () => order.push('data'),
    ended: () => order.push('ended'),
    closed: () => order.push('closed'),
  })
  await parties.pass(10)
  assert.deepEqual(order, ['accepted', 'closed'])
  assert.deepEqual(parties.leftovers(), NOTHING)
})

test('a RESET tells the other side why, and ends both ways at once', async () => {
  const parties = new Parties()
  await parties.connect()
  const near = parties.open()
  await parties.pass(10)
  parties.accepted[0]!.stream.reset(
    new TunnelError('CONNECT_REFUSED', 'nobody listens', { hop: 'agent', retryAfterMs: 5 }),
  )
  await parties.pass(10)
  const { code, message, hop, retryAfterMs } = near.error!
  assert.deepEqual(
    { code, message, hop, retryAfterMs },
    {
      code: 'CONNECT_REFUSED',
      message: 'nobody listens',
      hop: 'agent',
      retryAfterMs: 5,
    },
  )
  assert.deepEqual(parties.leftovers(), NOTHING)
})

const badForStream: [string, (peer: RawPeer) => void][] = [
  [
    'a frame beyond the window',
    (peer) => peer.send(encodeFrame(FrameType.DATA, 1, new Uint8Array(300 * KIB))),
  ],
  [
    'acknowledging what was never sent',
    (peer) => peer.send(encodeWindow(1, { received: 10_000, limit: 300_000 })),
  ],
  [
    'acknowledging the inside of a frame',
    (peer) => peer.send(encodeWindow(1, { received: 1, limit: 300_000 })),
  ],
  ['a WINDOW that shrinks', (peer) => peer.send(encodeWindow(1, { received: 0, limit: 5 }))],
  ['a WINDOW of another length', (peer) => peer.send(encodeFrame(FrameType.WINDOW, 1, new Uint8Array(11)))],
  ['an EVENT that is no JSON', (peer) => peer.send(encodeFrame(FrameType.EVENT, 1, Buffer.from('{')))],
  ['an EVENT of the wrong form', (peer) => peer.json(FrameType.EVENT, 1, { exit: 1 })],
  ['ACCEPT from an opener', (peer) => peer.send(encodeHead(FrameType.ACCEPT, 1, { window: 1 }))],
  ['RESUMED that nobody asked for', (peer) => peer.json(FrameType.RESUMED, 1, { received: 0, limit: 1 })],
  [
    'DATA after END',
    (peer) => {
      peer.send(encodeFrame(FrameType.END, 1))
      peer.send(encodeFrame(FrameType.DATA, 1, new Uint8Array(1)))
    },
  ],
  [
    'a second END',
    (peer) => {
      peer.send(encodeFrame(FrameType.DATA | END_FLAG, 1, new Uint8Array(1)))
      peer.send(encodeFrame(FrameType.END, 1))
    },
  ],
]
for (const [what, send] of badForStream) {
  test(`${what} ends its stream with FRAME_INVALID and nothing else`, async () => {
    const { parties, peer } = await rawClient()
    peer.open(1)
    peer.open(3)
    await parties.pass(10)
    send(peer)
    peer.send(encodeFrame(FrameType.DATA, 3, Buffer.from('fine')))
    await parties.pass(10)
    assert.equal(peer.resetCode(1), 'FRAME_INVALID')
    assert.ok(!parties.linkErrors.length)
    assert.equal(parties.accepted[0]!.error?.code, 'FRAME_INVALID')
    assert.equal(parties.accepted[1]!.bytes.toString(), 'fine')
    assert.equal(parties.acceptor.size, 1)
  })
}

test('a head that is too long refuses its stream, and its link lives', async () => {
  const parties = new Parties()
  const { near: link } = await parties.connect()
  const headers: [string, string][] = [['cookie', 'x'.repeat(70_000)]]
  const near = parties.open({ kind: 'http', http: { method: 'GET', path: '/', headers } })
  assert.throws(() => parties.open({}, new Uint8Array(65_537)), { code: 'FRAME_TOO_LARGE' })
  await parties.pass(1_000)
  assert.equal(near.error?.code, 'FRAME_TOO_LARGE')
  assert.ok(!link.closed)
  assert.equal(parties.acceptor.size, 0)
  assert.equal(link.streamCount, 0)
  const fine = parties.open()
  await parties.pass(10)
  assert.ok(fine.accepted)
})

test('an answer or an event that is too long ends its stream, and throws at nobody', async () => {
  const long = 'x'.repeat(60_000)
  for (const say of [
    (stream: TunnelStream) => stream.accept({ http: { status: 200, statusText: long, headers: [] } }),
    (stream: TunnelStream) => stream.event({ exit: { signal: long } }),
  ]) {
    const parties = new Parties({ onStream: say })
    await parties.connect()
    const near = parties.open()
    await parties.pass(10)
    assert.equal(near.error?.code, 'FRAME_TOO_LARGE')
    assert.deepEqual(parties.leftovers(), NOTHING)
  }
})
