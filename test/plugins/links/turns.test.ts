import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import test from 'node:test'
import { STEPS_PER_TURN, Turns } from '../../../plugins/links/turns.ts'
import { startProxy, until } from '../../support/proxy.ts'

/** Numbers the turns of the event loop from now on. */
function countTurns(after: (end: () => void) => void): () => number {
  let turn = 0
  let next = setImmediate(function count() {
    turn++
    next = setImmediate(count)
  })
  after(() => clearImmediate(next))
  return () => turn
}

function mostAlike(values: readonly number[]): number {
  const counts = new Map<number, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return Math.max(...counts.values())
}

test('of thousands who come at once a few have their turn in each turn of the event loop', async (t) => {
  const turn = countTurns((end) => t.after(end))
  const turns = new Turns()
  const taken: number[] = []
  const step = async () => {
    await turns.next('arrived')
    // Whatever it does before it waits for something is a part of its step.
    for (let call = 0; call < 10; call++) await undefined
    taken.push(turn())
  }
  await Promise.all(Array.from({ length: 3_000 }, step))
  assert.equal(taken.length, 3_000)
  assert.ok(mostAlike(taken) <= STEPS_PER_TURN, `${mostAlike(taken)} in one turn`)
})

test('who is further goes first, and each in the order in which they came', async () => {
  const turns = new Turns()
  const order: string[] = []
  const go = async (name: string, stage: Parameters<Turns['next']>[0]) => {
    await turns.next(stage)
    order.push(name)
  }
  await Promise.all([
    ...[go('a', 'arrived'), go('b', 'arrived'), go('c', 'known'), go('d', 'greeted')],
    ...[go('e', 'known'), go('f', 'greeted')],
  ])
  assert.deepEqual(order, ['d', 'f', 'c', 'e', 'a', 'b'])
})

test('of connections that end at once the first is told at once, the others a few in each turn and before who comes', async (t) => {
  const turn = countTurns((end) => t.after(end))
  const turns = new Turns()
  const told: number[] = []
  for (let count = 0; count < 1_000; count++) turns.leave(() => told.push(turn()))
  assert.equal(told.length, 1)
  await turns.next('greeted')
  assert.equal(told.length, 1_000)
  assert.ok(mostAlike(told) <= STEPS_PER_TURN, `${mostAlike(told)} in one turn`)
})

test('who has waited too long is told to come again, spread over as long, and who has gone causes nothing', async (t) => {
  let nowMs = 0
  const turns = new Turns({ now: () => nowMs })
  const patient = turns.arrive({ destroyed: false })
  nowMs += 7_000
  await patient
  let share = 0
  t.mock.method(Math, 'random', () => share++ / 2)
  const late = [0, 1].map(() => turns.arrive({ destroyed: false }))
  nowMs += 9_000
  await Promise.all([
    assert.rejects(late[0]!, { code: 'OVERLOADED', retryAfterMs: 1_000 }),
    assert.rejects(late[1]!, { code: 'OVERLOADED', retryAfterMs: 5_500 }),
  ])
  await assert.rejects(turns.arrive({ destroyed: true }), { code: 'ABORTED' })
})

test('links that are asked for at once are made a few at a time, with turns for others between them', async (t) => {
  const links = 60
  const proxy = await startProxy(t, { set: [`server.socketsPerIp=${links}`] })
  const sockets: Socket[] = []
  t.after(() => {
    for (const socket of sockets) socket.destroy()
  })
  for (let count = 0; count < links; count++) {
    const socket = connect(proxy.port, '127.0.0.1')
    sockets.push(socket)
    await once(socket, 'connect')
    socket.resume()
  }
  const turn = countTurns((end) => t.after(end))
  const madeIn: number[] = []
  proxy.app.websocketServer.on('connection', () => madeIn.push(turn()))
  const request = [
    'GET /api/tunnel/connect HTTP/1.1',
    'host: proxy',
    'connection: upgrade',
    'upgrade: websocket',
    'sec-websocket-version: 13',
    'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-protocol: tunnel.v1',
    `authorization: Bearer ${proxy.tokenOf('alice')}`,
  ]
  for (const socket of sockets) socket.write(`${request.join('\r\n')}\r\n\r\n`)
  await until(() => madeIn.length === links)
  assert.ok(mostAlike(madeIn) <= STEPS_PER_TURN, `${mostAlike(madeIn)} in one turn`)
})
