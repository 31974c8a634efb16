import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { finished } from 'node:stream/promises'
import test, { type TestContext } from 'node:test'
import { seededBytes, seededSha256, seededStream } from '../support/random.ts'
import { type Address, FaultRelay } from './fault-relay.ts'

const MIB = 1_048_576

async function serve(t: TestContext, handle: (socket: Socket) => void): Promise<Address> {
  const sockets = new Set<Socket>()
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    handle(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
}

function dial(t: TestContext, relay: FaultRelay): Socket {
  const socket = connect({ host: relay.host, port: relay.port, allowHalfOpen: true })
  t.after(() => socket.destroy())
  return socket
}

async function echoThrough(t: TestContext) {
  const target = await serve(t, (socket) => socket.pipe(socket))
  const relay = await FaultRelay.listen(t, { target })
  const joined = once(relay, 'joined')
  const socket = dial(t, relay)
  await joined
  return { relay, socket }
}

/** The target's own accept may come after all that the relay does. */
async function untilOneOf(accepted: readonly unknown[]): Promise<void> {
  while (accepted.length === 0) await new Promise((resolve) => setImmediate(resolve))
}

function isReset(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ECONNRESET'
}

test('with no fault every byte arrives, both half closes pass, and nothing stays', async (t) => {
  const { relay, socket } = await echoThrough(t)
  const parted = once(relay, 'parted')
  const hash = createHash('sha256')
  socket.on('data', (bytes) => hash.update(bytes))
  seededStream(1, 8 * MIB).pipe(socket)
  await once(socket, 'end')
  assert.equal(hash.digest('hex'), seededSha256(1, 8 * MIB))
  await parted
  assert.equal(relay.size, 0)
  assert.deepEqual([relay.counters.upBytes, relay.counters.downBytes], [8 * MIB, 8 * MIB])
})

test('a cut ends both sides, and new connections are served', async (t) => {
  const { relay, socket } = await echoThrough(t)
  socket.resume()
  const ended = once(socket, 'end')
  assert.equal(relay.cut(), 1)
  await ended
  const again = dial(t, relay)
  again.write('still here')
  const [bytes] = await once(again, 'data')
  assert.equal(String(bytes), 'still here')
  assert.equal(relay.counters.cut, 1)
})

test('a reset is seen as one by both sides', async (t) => {
  const reset: Promise<unknown>[] = []
  const target = await serve(t, (socket) => reset.push(finished(socket.resume())))
  const relay = await FaultRelay.listen(t, { target })
  const joined = once(relay, 'joined')
  const socket = dial(t, relay).resume()
  await joined
  await untilOneOf(reset)
  const near = assert.rejects(finished(socket), isReset)
  const far = assert.rejects(reset[0] ?? Promise.resolve(), isReset)
  relay.reset()
  await Promise.all([near, far])
})

test('a frozen relay forwards and closes nothing, old connections and new, until it thaws', async (t) => {
  const [{ relay, socket }, beside] = [await echoThrough(t), await echoThrough(t)]
  relay.freeze()
  const late = dial(t, relay)
  await once(late, 'connect')
  socket.write('one')
  late.write('two')
  const early = Promise.race([once(socket, 'data'), once(late, 'data')]).then(() => 'something came')
  const meanwhile = (async () => {
    for (let count = 0; count < 100; count++) {
      beside.socket.write('on')
      await once(beside.socket, 'data')
    }
    return 'nothing came'
  })()
  assert.equal(await Promise.race([early, meanwhile]), 'nothing came')
  const answers = Promise.all([once(socket, 'data'), once(late, 'data')])
  relay.thaw()
  assert.deepEqual(
    (await answers).map(([bytes]) => String(bytes)),
    ['one', 'two'],
  )
})

test('the cut after N bytes comes at exactly that byte', async (t) => {
  for (const byteCount of [1, 65_536, 1_000_003]) {
    const received: Buffer[] = []
    const over: Promise<unknown>[] = []
    const target = await serve(t, (socket) => {
      over.push(finished(socket.on('data', (bytes) => received.push(bytes)).end()))
    })
    const relay = await FaultRelay.listen(t, { target })
    relay.cutAfter(byteCount, 'up')
    const socket = dial(t, relay).resume()
    socket.on('error', () => {}) // its unsent bytes may turn the cut into a reset
    socket.end(seededBytes(byteCount, 2 * MIB))
    await once(relay, 'parted')
    await untilOneOf(over)
    await over[0]
    assert.ok(Buffer.concat(received).equals(seededBytes(byteCount, byteCount)))
  }
})

test('a half close ends one direction and leaves the other', async (t) => {
  const target = await serve(t, (socket) => {
    socket.resume()
    socket.on('end', () => socket.end('you said no more'))
  })
  const relay = await FaultRelay.listen(t, { target })
  const joined = once(relay, 'joined')
  const socket = dial(t, relay)
  await joined
  relay.halfClose('up')
  const [bytes] = await once(socket, 'data')
  assert.equal(String(bytes), 'you said no more')
})

test('delay holds every byte back and keeps the order', async (t) => {
  const { relay, socket } = await echoThrough(t)
  relay.delay(30)
  const hash = createHash('sha256')
  socket.on('data', (bytes) => hash.update(bytes))
  const beganMs = performance.now()
  socket.end(seededBytes(2, MIB))
  await once(socket, 'end')
  assert.equal(hash.digest('hex'), seededSha256(2, MIB))
  // A timer may fire a millisecond early by this clock.
  assert.ok(performance.now() - beganMs >= 58)
})

test('throttle holds the rate, and lifting it lets the rest go', async (t) => {
  const { relay, socket } = await echoThrough(t)
  relay.throttle(400_000, 'up')
  let byteCount = 0
  socket.on('data', (bytes) => {
    byteCount += bytes.length
  })
  const beganMs = performance.now()
  socket.end(seededBytes(3, MIB))
  while (byteCount < 80_000) await once(relay, 'bytes')
  const seconds = (performance.now() - beganMs) / 1_000
  assert.ok(relay.counters.upBytes <= 400_000 * (seconds + 0.02), `${relay.counters.upBytes} in ${seconds} s`)
  relay.clear()
  await once(socket, 'end')
  assert.equal(byteCount, MIB)
})

test('refusing, a target that is not there, and one that is switched', async (t) => {
  const first = await serve(t, (socket) => socket.end('first'))
  const second = await serve(t, (socket) => socket.end('second'))
  const relay = await FaultRelay.listen(t, { target: first })
  const answer = async () => String((await once(dial(t, relay), 'data'))[0])
  assert.equal(await answer(), 'first')
  relay.target = second
  assert.equal(await answer(), 'second')
  relay.refusing = true
  await assert.rejects(answer(), isReset)
  relay.refusing = false
  relay.target = { host: '127.0.0.1', port: 1 }
  await assert.rejects(answer(), isReset)
  assert.equal(relay.counters.refused, 2)
})

test('the stall watch tells the longest time without a byte', async (t) => {
  const { relay, socket } = await echoThrough(t)
  const { now } = performance
  let aheadMs = 0
  t.mock.method(performance, 'now', () => now.call(performance) + aheadMs)
  relay.stall.start()
  relay.freeze()
  socket.write('after the freeze')
  aheadMs = 3_600_000
  relay.thaw()
  await once(socket, 'data')
  assert.ok(relay.stall.longestMs() >= aheadMs)
})
