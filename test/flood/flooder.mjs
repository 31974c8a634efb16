// Floods a proxy over WebSockets, as one user: node flooder.mjs URL KIND LINKS. The token is in FLOOD_TOKEN.
// A process of its own, in plain JavaScript: what it does must cost the measured processes nothing.
import { WebSocket } from 'ws'

const [url, kind, links] = process.argv.slice(2)
const HELLO = 0x01
const PING = 0x02
const AUTH = 0x04
const OPEN = 0x10
const RESUME = 0x23
/** Frames in one write, and bytes that may wait to be sent. */
const BATCH = 50
const WAITING_BYTES = 262_144
/** Before a link that the proxy has closed is dialled again, in ms. */
const REDIAL_MS = 300

function frame(type, stream, ...parts) {
  const header = Buffer.alloc(5)
  header[0] = type
  header.writeUInt32BE(stream, 1)
  return Buffer.concat([header, ...parts])
}

function json(type, stream, value) {
  return frame(type, stream, Buffer.from(JSON.stringify(value)))
}

function open(stream, head) {
  const text = Buffer.from(JSON.stringify(head))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(text.length)
  return frame(OPEN, stream, length, text)
}

let ids = process.pid * 2 ** 20
const nextId = () => (ids++).toString(16).padStart(32, '0')
const MACHINE = { kind: 'ssh', machine: 'nowhere' }

/** The flood's next frame, for an odd stream number. */
const FRAMES = {
  'malformed OPEN': (stream) => open(stream, { id: 'no' }),
  'refused OPEN': (stream) => open(stream, { id: nextId(), ...MACHINE, window: 65_536 }),
  'unknown RESUME': (stream) =>
    json(RESUME, stream, { id: nextId(), ...MACHINE, received: 0, limit: 65_536, attempt: 1 }),
  AUTH: () => json(AUTH, 0, { token: process.env.FLOOD_TOKEN }),
  PING: () => frame(PING, 0, Buffer.alloc(8)),
}

function dial() {
  const headers = { authorization: `Bearer ${process.env.FLOOD_TOKEN}` }
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/tunnel/connect`, 'tunnel.v1', { headers })
  let stream = 1
  const pump = () => {
    if (socket.readyState !== WebSocket.OPEN) return
    if (socket.bufferedAmount > WAITING_BYTES) return void setTimeout(pump, 2)
    for (let count = 0; count < BATCH; count++, stream += 2) socket.send(FRAMES[kind](stream))
    setImmediate(pump)
  }
  socket.on('error', () => {})
  socket.on('close', () => setTimeout(dial, REDIAL_MS))
  socket.once('message', () => {
    process.stdout.write('flooding\n')
    pump()
  })
  socket.once('open', () => {
    socket.send(
      json(HELLO, 0, {
        role: 'client',
        version: 1,
        software: 'flooder',
        heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
        limits: { maxFrameBytes: 1_048_576, maxStreams: 256 },
        resumeMs: 120_000,
      }),
    )
  })
}

for (let count = 0; count < Number(links); count++) dial()
