// Floods a proxy over WebSockets, as one user: node flooder.mjs URL KIND LINKS. The token is in FLOOD_TOKEN.
import { WebSocket } from 'ws'
import { dial, frame, headed, json, nextId, TYPE } from './wire.mjs'

const [url, kind, links] = process.argv.slice(2)
const token = process.env.FLOOD_TOKEN
/** Frames in one write, and bytes that may wait to be sent. */
const BATCH = 50
const WAITING_BYTES = 262_144
/** Before a link that the proxy has closed is dialled again, in ms. */
const REDIAL_MS = 300

const MACHINE = { kind: 'ssh', machine: 'nowhere' }
/** As deep and as full as JSON may be in a head, and deeper. */
const DEEP = [`{"id":"${nextId()}","x":${'['.repeat(30_000)}${']'.repeat(30_000)}}`]
DEEP.push(JSON.stringify({ id: nextId(), x: Array.from({ length: 20_000 }, (_, index) => index) }))

/** The flood's next frame, for an odd stream number. */
const FRAMES = {
  'malformed OPEN': (stream) => headed(TYPE.OPEN, stream, { id: 'no' }),
  'refused OPEN': (stream) => headed(TYPE.OPEN, stream, { id: nextId(), ...MACHINE, window: 65_536 }),
  'unknown RESUME': (stream) =>
    json(TYPE.RESUME, stream, { id: nextId(), ...MACHINE, received: 0, limit: 65_536, attempt: 1 }),
  'deep JSON': (stream) => headed(TYPE.OPEN, stream, DEEP[(stream >> 1) % DEEP.length]),
  AUTH: () => json(TYPE.AUTH, 0, { token }),
  PING: () => frame(TYPE.PING, 0, Buffer.alloc(8)),
}

function flood() {
  const socket = dial(url, token, { role: 'client' }, () => {
    process.stdout.write('flooding\n')
    pump()
  })
  let stream = 1
  const pump = () => {
    if (socket.readyState !== WebSocket.OPEN) return
    if (socket.bufferedAmount > WAITING_BYTES) return void setTimeout(pump, 2)
    for (let count = 0; count < BATCH; count++, stream += 2) socket.send(FRAMES[kind](stream))
    setImmediate(pump)
  }
  socket.on('close', () => setTimeout(flood, REDIAL_MS))
}

for (let count = 0; count < Number(links); count++) flood()
