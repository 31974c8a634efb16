import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { type Address, connectToAny } from '../../../protocol/node/connect.ts'

const A = { address: '192.0.2.1', family: 4 }
const B = { address: '192.0.2.2', family: 4 }
const AAAA = { address: '2001:db8::1', family: 6 }

/** Dials to sockets that do what the test says, in a time that it moves. */
function setUp(addresses: Address[]) {
  const dialled: string[] = []
  const sockets = new Map<string, EventEmitter & { destroyed: boolean }>()
  const ends: [string | undefined, unknown][] = []
  const connect = ({ host }: { host: string }): Socket => {
    dialled.push(host)
    const socket = Object.assign(new EventEmitter(), { destroyed: false, destroy: () => {} })
    socket.destroy = () => {
      socket.destroyed = true
    }
    sockets.set(host, socket)
    return socket as unknown as Socket
  }
  const resolve = async () => addresses
  const callOff = connectToAny({ host: 'name', port: 1, resolve, connect }, (error, socket) =>
    ends.push([error?.message, socket]),
  )
  return { dialled, sockets, ends, callOff }
}

test('a slow address is not given up while others are tried, and the first that answers is taken', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { dialled, sockets, ends } = setUp([AAAA, A])
  await Promise.resolve()
  assert.deepEqual(dialled, [AAAA.address])
  t.mock.timers.tick(250)
  assert.deepEqual(dialled, [AAAA.address, A.address])
  t.mock.timers.tick(5_000)
  assert.deepEqual(ends, [])
  sockets.get(A.address)!.emit('connect')
  assert.deepEqual(ends, [[undefined, sockets.get(A.address)]])
  assert.deepEqual([sockets.get(AAAA.address)!.destroyed, sockets.get(A.address)!.destroyed], [true, false])
})

test('families take turns, and one that refuses is followed at once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { dialled, sockets, ends } = setUp([A, B, AAAA])
  await Promise.resolve()
  sockets.get(A.address)!.emit('error', new Error('first'))
  sockets.get(AAAA.address)!.emit('error', new Error('second'))
  assert.deepEqual(dialled, [A.address, AAAA.address, B.address])
  sockets.get(B.address)!.emit('error', new Error('third'))
  assert.deepEqual(ends, [['first', undefined]])
})

test('what is called off leaves no attempt and ends once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { dialled, sockets, ends, callOff } = setUp([A, B])
  await Promise.resolve()
  callOff()
  callOff()
  t.mock.timers.tick(1_000)
  assert.deepEqual(dialled, [A.address])
  assert.equal(sockets.get(A.address)!.destroyed, true)
  assert.equal(ends.length, 1)
})

test('a real name is connected to', async (t) => {
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as { port: number }
  const socket = await new Promise<Socket>((resolve, reject) =>
    connectToAny({ host: 'localhost', port }, (error, made) => (made ? resolve(made) : reject(error))),
  )
  assert.equal(socket.remotePort, port)
  socket.destroy()
})
