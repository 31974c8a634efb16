import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import { WebSocketServer } from 'ws'
import { encodeFrame, FrameType } from '../../../protocol/codec/frames.ts'
import { SUBPROTOCOL } from '../../../protocol/codec/hello.ts'
import { dialWebSocket } from '../../../protocol/node/dial-websocket.ts'

test('a small frame that came in a large read keeps no more than its own memory', async (t) => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => SUBPROTOCOL })
  t.after(() => server.close())
  await once(server, 'listening')
  server.on('connection', (webSocket, { socket }) => {
    socket.cork()
    for (let number = 1; number < 2_000; number += 2) {
      webSocket.send(encodeFrame(FrameType.DATA, number, Buffer.from('x')))
      webSocket.send(encodeFrame(FrameType.DATA, number, Buffer.alloc(1_000)))
    }
    socket.uncork()
    ;(socket as Socket).end()
  })
  const { port } = server.address() as AddressInfo
  const transport = await dialWebSocket(`ws://127.0.0.1:${port}/`, {
    timeoutMs: 5_000,
    maxFrameBytes: 131_072,
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
