import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '../../../protocol/codec/frames.ts'
import type { LinkHandlers } from '../../../protocol/link/handlers.ts'
import type { Link } from '../../../protocol/link/link.ts'
import { StreamAcceptor } from '../../../protocol/stream/acceptor.ts'
import type { MemoryPair } from '../../support/memory-transport.ts'
import { helloOf, idOf, KIB, linkOf, NOTHING, Parties, rawClient, SETTINGS } from '../parties.ts'
import { resume } from './resuming.ts'

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
