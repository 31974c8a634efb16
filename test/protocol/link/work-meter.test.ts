import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { encodeFrame, encodeHead, encodeJson, FrameType } from '../../../protocol/codec/frames.ts'
import type { IncomingOpen } from '../../../protocol/link/handlers.ts'
import { HeldSeat } from '../../../protocol/link/held-seat.ts'
import { Link } from '../../../protocol/link/link.ts'
import { costOfFrame, type Work, WorkMeter } from '../../../protocol/link/work-meter.ts'
import { helloOf, idOf, Parties, RawPeer } from '../parties.ts'

/** A proxy's end of a user's link; what comes for it is told in `handled`. */
async function linkOf(parties: Parties, work: Work) {
  const pair = parties.newPair()
  const handled: string[] = []
  const link = new Link({
    transport: pair.b,
    dialler: false,
    hello: helloOf('proxy'),
    clock: parties.clock,
    work,
    handlers: {
      auth: (token) => handled.push(token),
      open: (open) => parties.acceptor.open(open, 'anna'),
    },
  })
  const peer = new RawPeer(pair.a)
  peer.hello()
  await parties.pass(1)
  return { link, peer, handled }
}

test('a burst of work is done in slices, so that others have their turns, and nothing of it is lost', async () => {
  const parties = new Parties()
  const work = new WorkMeter(parties.clock)
  const one = await linkOf(parties, work)
  const two = await linkOf(parties, work)
  const other = await linkOf(parties, new WorkMeter(parties.clock))
  const tokens = Array.from({ length: 1_000 }, (_, index) => `t${index}`)
  for (const token of tokens) for (const { peer } of [one, two]) peer.json(FrameType.AUTH, 0, { token })
  await parties.pass(0)
  const atOnce = one.handled.length + two.handled.length
  assert.ok(atOnce > 0 && atOnce <= 12, `${atOnce} at once on both links together`)
  other.peer.json(FrameType.AUTH, 0, { token: 'x' })
  await parties.pass(0)
  assert.deepEqual(other.handled, ['x'])
  await parties.pass(10_000)
  assert.deepEqual(one.handled, tokens)
  assert.deepEqual(two.handled, tokens)
})

test('a user who is alone takes no turns, until somebody else is there', async () => {
  const parties = new Parties()
  let isShared = false
  const { peer, handled } = await linkOf(parties, new WorkMeter(parties.clock, () => isShared))
  const send = (count: number): void => {
    for (let sent = 0; sent < count; sent++) peer.json(FrameType.AUTH, 0, { token: 't' })
  }
  send(1_000)
  await parties.pass(0)
  assert.equal(handled.length, 1_000)
  isShared = true
  send(1_000)
  await parties.pass(0)
  assert.ok(handled.length <= 1_012, `${handled.length - 1_000} at once`)
  await parties.pass(10_000)
  assert.equal(handled.length, 2_000)
})

test('lasting work is slowed to its share, and a link that was slowed lives', async () => {
  const parties = new Parties()
  const { peer, handled, link } = await linkOf(parties, new WorkMeter(parties.clock))
  for (let count = 0; count < 30_000; count++) peer.json(FrameType.AUTH, 0, { token: 't' })
  // By then its burst is used up.
  await parties.pass(10_000)
  const before = handled.length
  await parties.pass(5_000)
  const perSecond = (handled.length - before) / 5
  assert.ok(perSecond > 1_000 && perSecond < 1_300, `${perSecond} a second`)
  assert.ok(!link.closed)
})

test('OPENs that are not valid end the link, and dialling again gains nothing', async () => {
  const parties = new Parties()
  const work = new WorkMeter(parties.clock)
  const flood = async () => {
    const { peer, link } = await linkOf(parties, work)
    for (let number = 1; number < 4_000; number += 2) {
      peer.send(encodeHead(FrameType.OPEN, number, { id: 'no' }))
    }
    await parties.pass(1_000)
    return { refused: peer.of(FrameType.RESET).length, link, peer }
  }
  const first = await flood()
  assert.equal(first.link.closedWith?.code, 'RATE_LIMITED')
  assert.equal(first.peer.closedWith?.code, 4429)
  assert.ok(first.refused >= 500 && first.refused < 540, `${first.refused} refused`)
  const again = await flood()
  assert.equal(again.link.closedWith?.code, 'RATE_LIMITED')
  assert.ok(again.refused < 40, `${again.refused} refused`)
})

test('streams that will be refused are decided on in slices, and those that are admitted do not wait', async () => {
  const parties = new Parties()
  const flooded = async (decide: (held: HeldSeat) => void) => {
    const seats: HeldSeat[] = []
    const pair = parties.newPair()
    const open = ({ link, number }: IncomingOpen): void => {
      const held = new HeldSeat(link, number)
      seats.push(held)
      queueMicrotask(() => decide(held))
    }
    new Link({
      transport: pair.b,
      dialler: false,
      hello: helloOf('proxy'),
      clock: parties.clock,
      work: new WorkMeter(parties.clock),
      handlers: { open },
    })
    const peer = new RawPeer(pair.a)
    peer.hello()
    await parties.pass(1)
    for (let number = 1; number < 160; number += 2) peer.open(number)
    await parties.pass(0)
    const atOnce = seats.length
    await parties.pass(1_000)
    assert.equal(seats.length, 80)
    return atOnce
  }
  const refused = await flooded((held) =>
    held.refuse(new TunnelError('MACHINE_UNKNOWN', 'no such machine', { hop: 'link' })),
  )
  assert.ok(refused > 0 && refused <= 8, `${refused} at once`)
  assert.equal(await flooded((held) => held.grant()), 80)
})

test('data costs by its frames where they are small, and an OPEN by its head alone', () => {
  assert.equal(costOfFrame(encodeFrame(FrameType.DATA, 1, Buffer.alloc(65_536))), 0)
  assert.ok(costOfFrame(encodeFrame(FrameType.DATA, 1, Buffer.alloc(1))) > 0)
  assert.ok(costOfFrame(encodeFrame(FrameType.AUX, 1, Buffer.alloc(1))) > 0)
  const head = { id: idOf(1), kind: 'http', machine: 'home', window: 1 }
  const small = costOfFrame(encodeHead(FrameType.OPEN, 1, head))
  assert.ok(small < 15)
  assert.equal(costOfFrame(encodeHead(FrameType.OPEN, 1, head, Buffer.alloc(60_000))), small)
  assert.ok(costOfFrame(encodeHead(FrameType.OPEN, 1, { ...head, later: 'x'.repeat(60_000) })) > 900)
  assert.ok(costOfFrame(encodeJson(FrameType.RESUME, 1, { later: 'x'.repeat(60_000) })) > 900)
})

test('streams go on at full speed on a link whose user has caused no other work', async () => {
  const parties = new Parties()
  const { peer } = await linkOf(parties, new WorkMeter(parties.clock))
  peer.open(1)
  await parties.pass(1)
  for (let count = 0; count < 250; count++)
    peer.send(encodeFrame(FrameType.DATA, 1, Buffer.from('keystroke')))
  for (let count = 0; count < 50; count++) peer.send(encodeFrame(FrameType.DATA, 1, Buffer.alloc(4_096)))
  await parties.pass(0)
  assert.equal(parties.accepted[0]!.bytes.length, 250 * 9 + 50 * 4_096)
})

test('a flood of keystrokes is passed on in slices, and all of it', async () => {
  const parties = new Parties()
  const { peer } = await linkOf(parties, new WorkMeter(parties.clock))
  peer.open(1)
  await parties.pass(1)
  const flood = 8_000
  for (let count = 0; count < flood; count++) peer.send(encodeFrame(FrameType.DATA, 1, Buffer.from('x')))
  await parties.pass(0)
  const { length: atOnce } = parties.accepted[0]!.bytes
  assert.ok(atOnce > 0 && atOnce < 1_000, `${atOnce} at once`)
  await parties.pass(1_000)
  assert.equal(parties.accepted[0]!.bytes.length, flood)
})

test('a peer that asks and never reads is asked no more when a few thousand small answers wait for it', async () => {
  const parties = new Parties()
  const pair = parties.newPair()
  new Link({
    transport: pair.b,
    dialler: false,
    hello: helloOf('proxy'),
    clock: parties.clock,
    handlers: {},
  })
  const peer = new RawPeer(pair.a)
  peer.hello()
  await parties.pass(1)
  pair.b.stall()
  const asked = 8_000
  for (let count = 0; count < asked; count++) {
    peer.send(encodeFrame(FrameType.PING, 0, new Uint8Array(8)))
    if (count % 1_000 === 0) await parties.pass(0)
  }
  await parties.pass(1)
  assert.ok(pair.b.unsentFrames > 1_000 && pair.b.unsentFrames < 6_000, `${pair.b.unsentFrames} wait`)
  pair.b.unstall()
  await parties.pass(1_000)
  assert.equal(peer.of(FrameType.PONG).length, asked)
})
