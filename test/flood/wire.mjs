// Frames and links of their own, in plain JavaScript, for programs that attack a proxy: what they do must cost the
// measured processes nothing.
import { WebSocket } from 'ws'

export const TYPE = {
  ...{ HELLO: 0x01, PING: 0x02, AUTH: 0x04, OPEN: 0x10, ACCEPT: 0x11, DATA: 0x12, EVENT: 0x14 },
  ...{ WINDOW: 0x20, RESET: 0x21, RESUME: 0x23, RESUMED: 0x24 },
}
export const HEADER_BYTES = 5

export function frame(type, stream, ...parts) {
  const header = Buffer.alloc(HEADER_BYTES)
  header[0] = type
  header.writeUInt32BE(stream, 1)
  return Buffer.concat([header, ...parts])
}

export function json(type, stream, value) {
  return frame(type, stream, Buffer.from(JSON.stringify(value)))
}

/** An OPEN or ACCEPT; `head` is a value, or text that may be no JSON. */
export function headed(type, stream, head) {
  const text = Buffer.from(typeof head === 'string' ? head : JSON.stringify(head))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(text.length)
  return frame(type, stream, length, text)
}

export function windowed(stream, received, limit) {
  const body = Buffer.alloc(12)
  body.writeUIntBE(received, 0, 6)
  body.writeUIntBE(limit, 6, 6)
  return frame(TYPE.WINDOW, stream, body)
}

let ids = process.pid * 2 ** 20
export const nextId = () => (ids++).toString(16).padStart(32, '0')

/** A WebSocket to the proxy that has said HELLO; `ready` is called when the proxy has said its own. */
export function dial(url, token, { role, more = {} }, ready) {
  const headers = { authorization: `Bearer ${token}` }
  const path = role === 'agent' ? 'agent' : 'connect'
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/tunnel/${path}`, 'tunnel.v1', { headers })
  socket.on('error', () => {})
  socket.once('message', () => ready(socket))
  socket.once('open', () => {
    socket.send(
      json(TYPE.HELLO, 0, {
        ...{ role, version: 1, software: 'attacker', resumeMs: 120_000 },
        heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
        limits: { maxFrameBytes: 1_048_576, maxStreams: 256 },
        ...more,
      }),
    )
  })
  return socket
}
