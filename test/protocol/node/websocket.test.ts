import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type WebSocket, WebSocketServer } from 'ws'
import { encodeFrame, FrameType } from '../../../protocol/codec/frames.ts'
import { SUBPROTOCOL } from '../../../protocol/codec/hello.ts'
import type { Transport } from '../../../protocol/link/transport.ts'
import { dialWebSocket } from '../../../protocol/node/dial-websocket.ts'

/** A transport to a server that does no more than `accepted`. */
async function dialled(
  t: TestContext,
  accepted: (webSocket: WebSocket, socket: Socket) => void,
): Promise<Transport> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => SUBPROTOCOL })
  t.after(() => server.close())
  await once(server, 'listening')
  server.on('connection', (webSocket, { socket }) => accepted(webSocket, socket as Socket))
  const { port } = server.address() as AddressInfo
  return dialWebSocket(`ws://127.0.0.1:${port}/`, { timeoutMs: 5_000, maxFrameBytes: 131_072 })
}

test('a small frame that came in a large read keeps no more than its own memory', async (t) => {
  const transport = await dialled(t, (webSocket, socket) => {
    socket.cork()
    for (let number = 1; number < 2_000; number += 2) {
      webSocket.send(encodeFrame(FrameType.DATA, number, Buffer.from('x')))
      webSocket.send(encodeFrame(FrameType.DATA, number, Buffer.alloc(1_000)))
    }
    socket.uncork()
    socket.end()
  })
  const kept: Uint8Array[] = []
  await new Promise<void>((resolve) => {
    transport.receiver = {
      message: (frame) => {
        if (frame.length === 6) kept.push(frame)
      },
      text: () => {},
      drained: () => {},
      closed: () => resolve(),
    }
  })
  assert.ok(kept.length > 500)
  for (const frame of kept) assert.ok(frame.buffer.byteLength <= 4 * frame.length)
})

test('a link of small frames that is paused brings no more than a slice of what was read, and loses nothing', async (t) => {
  const frame = encodeFrame(FrameType.DATA, 1, Buffer.from('x'))
  const count = 40_000
  const transport = await dialled(t, (webSocket, socket) => {
    webSocket.once('message', () => {
      socket.cork()
      for (let sent = 0; sent < count; sent++) webSocket.send(frame)
      socket.uncork()
      socket.end()
    })
  })
  const afterPause: number[] = []
  let came = 0
  let isPaused = false
  await new Promise<void>((resolve) => {
    transport.receiver = {
      message: () => {
        came++
        if (isPaused) return void afterPause.push(afterPause.pop()! + 1)
        isPaused = true
        afterPause.push(0)
        transport.pause()
        setImmediate(() => {
          isPaused = false
          transport.resume()
        })
      },
      text: () => {},
      drained: () => {},
      closed: () => resolve(),
    }
    transport.send(frame)
  })
  assert.equal(came, count)
  // The first read shows what the peer is.
  const framesOfSlice = 2_048 / (frame.length + 2)
  const later = afterPause.slice(2)
  assert.ok(later.length > 40 && later.every((frames) => frames <= framesOfSlice), afterPause.join(' '))
})
