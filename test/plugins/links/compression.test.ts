import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import test, { type TestContext } from 'node:test'
import type { WebSocket } from 'ws'
import type { RawStream } from '../../../client/index.ts'
import { listenTcp, readAll, startProxy } from '../../support/proxy.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'

const skip = requireSystem('sshd')
/** That shrinks to next to nothing. */
const PLAIN = Buffer.alloc(262_144)

interface Ends {
  proxy: boolean
  client: boolean
}

/** A client's link, and what sending `PLAIN` through a stream and hearing it again costs on it, in bytes. */
async function start(t: TestContext, offers: Ends) {
  const set = [`compression.enabled=${offers.proxy}`]
  const [proxy, sshd] = await Promise.all([startProxy(t, { set }), startSshd(t)])
  const sockets: Socket[] = []
  proxy.app.websocketServer.on('connection', (_: WebSocket, { socket }: IncomingMessage) => {
    sockets.push(socket)
  })
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', sshd, { allow: [echo] })
  const tunnel = await proxy.connect('alice', { settings: { compression: { enabled: offers.client } } })
  const socket = sockets.at(-1)!
  return async (kind: RawStream['kind']) => {
    const before = { up: socket.bytesRead, down: socket.bytesWritten }
    const stream = await tunnel.open({ machine: 'home', kind, target: echo })
    stream.end(PLAIN)
    assert.ok((await readAll(stream)).equals(PLAIN))
    return { up: socket.bytesRead - before.up, down: socket.bytesWritten - before.down }
  }
}

test('where both ends offer compression inspected streams are compressed both ways, and sealed ones never', {
  skip,
}, async (t) => {
  const cost = await start(t, { proxy: true, client: true })
  const inspected = await cost('tcp')
  assert.ok(inspected.up < PLAIN.length / 10, `${inspected.up} bytes went up`)
  assert.ok(inspected.down < PLAIN.length / 10, `${inspected.down} bytes came down`)
  const sealed = await cost('ssh')
  assert.ok(sealed.up > PLAIN.length, `${sealed.up} bytes went up`)
  assert.ok(sealed.down > PLAIN.length, `${sealed.down} bytes came down`)
})

for (const offers of [
  { proxy: true, client: false },
  { proxy: false, client: true },
]) {
  test(`where the ${offers.proxy ? 'proxy' : 'client'} alone offers compression nothing is compressed`, {
    skip,
  }, async (t) => {
    const { up, down } = await (await start(t, offers))('tcp')
    assert.ok(up > PLAIN.length, `${up} bytes went up`)
    assert.ok(down > PLAIN.length, `${down} bytes came down`)
  })
}
