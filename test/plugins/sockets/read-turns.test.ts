import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import { ReadTurns, readAs } from '../../../plugins/sockets/read-turns.ts'

const PIECE = '1\r\nx\r\n'

test('of pieces that take long a read brings few in one turn, and all of them in the end', async (t) => {
  const turns = new ReadTurns()
  let inTurn = 0
  let most = 0
  const server = createServer((request, response) => {
    let bytes = 0
    request.on('data', (piece: Buffer) => {
      bytes += piece.length
      if (inTurn++ === 0)
        setImmediate(() => {
          inTurn = 0
        })
      most = Math.max(most, inTurn)
      // Whatever the computer is like, a slice of such pieces is costly.
      for (const untilMs = performance.now() + 0.01; performance.now() < untilMs; );
    })
    request.on('end', () => response.end(String(bytes)))
  })
  server.on('connection', (socket) => turns.follow(socket))
  server.prependListener('request', (request) => readAs(request))
  server.listen(0, '127.0.0.1')
  t.after(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.after(() => socket.destroy())
  const head = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n'
  // In one packet, so that one read may bring all.
  socket.write(`${head}${PIECE.repeat(4_000)}0\r\n\r\n`)
  let text = ''
  await new Promise<void>((resolve) => {
    socket.on('data', (bytes: Buffer) => {
      text += String(bytes)
      if (text.endsWith('4000')) resolve()
    })
    socket.once('close', resolve)
  })
  assert.match(text, /4000$/)
  // Two slices may be in one turn: what has just paid its debt goes on before whoever is read next.
  assert.ok(most <= 2 * Math.ceil(2_048 / PIECE.length), `${most} pieces in one turn`)
})

test('networks that wait go on one after the other, and connections that have nothing left are passed over', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const turns = new ReadTurns()
  const wentOn: string[] = []
  const wait = (network: string, name: string, hasRest = true): void =>
    turns.wait({ network, hasRest, goOn: () => wentOn.push(name) })
  for (const name of ['a1', 'a2', 'a3']) wait('192.0.2.1', name, name !== 'a2')
  wait('192.0.2.2', 'b1')
  t.mock.timers.tick(1_000)
  assert.deepEqual(wentOn, ['a1', 'b1', 'a3'])
  wait('192.0.2.1', 'a4')
  t.mock.timers.tick(1_000)
  assert.deepEqual(wentOn.slice(3), ['a4'])
})
