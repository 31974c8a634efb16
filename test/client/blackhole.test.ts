import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import test from 'node:test'
import { Detours } from '../../dial/detours.ts'
import { dialWith } from '../../dial/dial-proxy.ts'
import { systemClock } from '../../protocol/clock.ts'
import type { DialOptions } from '../../protocol/link/transport.ts'
import { listenTcp, startProxy } from '../support/proxy.ts'

/** RFC 6455, section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
/** For what takes seconds otherwise, in ms. */
const SOON_MS = 1_000
const HELLO_MS = 10_000

function openUpgrade(socket: Socket, request: string): void {
  const key = /sec-websocket-key: (\S+)/i.exec(request)?.[1]
  const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64')
  const head = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade']
  const ours = [`Sec-WebSocket-Accept: ${accept}`, 'Sec-WebSocket-Protocol: tunnel.v1', '', '']
  socket.write([...head, ...ours].join('\r\n'))
}

/** What stands between: it passes HTTP on, and of a WebSocket nothing. */
function startSwallower(t: test.TestContext, port: number, isOpened: boolean): Promise<string> {
  return listenTcp(t, (socket) => {
    socket.once('data', (first) => {
      const request = String(first)
      if (!/^upgrade: websocket/im.test(request)) {
        const far = connect(port, '127.0.0.1')
        far.on('error', () => socket.destroy()).once('close', () => socket.destroy())
        socket.once('close', () => far.destroy())
        far.write(first)
        socket.pipe(far).pipe(socket)
      } else {
        socket.resume()
        if (isOpened) openUpgrade(socket, request)
      }
    })
  })
}

test('a WebSocket that goes nowhere, and tells nobody, gives way to HTTP streaming by itself', async (t) => {
  const proxy = await startProxy(t)
  for (const [what, isOpened] of [
    ['the upgrade is answered, and then nothing passes', true],
    ['the upgrade is never answered', false],
  ] as const) {
    await t.test(what, async (t) => {
      const url = `http://${await startSwallower(t, proxy.port, isOpened)}`
      const dial = dialWith(new Detours())
      const soon = (url: string, options: DialOptions) => dial(url, { ...options, timeoutMs: SOON_MS })
      const clock = {
        ...systemClock,
        setTimer: (callback: () => void, ms: number) =>
          systemClock.setTimer(callback, ms === HELLO_MS ? SOON_MS : ms),
      }
      const platform = { dial: Object.assign(soon, { ...dial }), clock }
      const tunnel = proxy.client('alice', { url, platform })
      const told: unknown[] = []
      tunnel.on('transport', (kind) => told.push(kind))
      await tunnel.connect()
      assert.equal(tunnel.link?.transport, 'http')
      assert.deepEqual(told, ['http'])
      await assert.rejects(tunnel.forwardRequest({ machine: 'nowhere' }), { code: 'MACHINE_UNKNOWN' })
    })
  }
})
