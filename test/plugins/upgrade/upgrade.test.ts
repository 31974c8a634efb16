import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import { loadSettings } from '../../../config/index.ts'
import errors, { answerClientError, answerUnrouted } from '../../../plugins/errors/index.ts'
import sockets from '../../../plugins/sockets/index.ts'
import upgrade from '../../../plugins/upgrade/index.ts'
import { type BuildOptions, buildServer } from '../../../server.ts'
import { until } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'
import { registerAuth, registerGround } from '../ground.ts'

type Listening = Pick<FastifyInstance, 'server' | 'listen'>

const WEB_SOCKET = [
  'connection: upgrade',
  'upgrade: websocket',
  'sec-websocket-version: 13',
  'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==',
]

async function proxy(t: TestContext, plugins: BuildOptions['plugins'] = [], ...flags: string[]) {
  const stateDir = join(await tempFolder(t, 'upgrade'), 'state')
  const { settings } = loadSettings({ stateDir, env: {}, flags })
  const app = await buildServer({ settings, plugins, logStream: { write: () => {} } })
  t.after(() => app.close())
  return { app, port: await listen(app) }
}

async function listen(app: Listening): Promise<number> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return (app.server.address() as { port: number }).port
}

function ask(t: TestContext, port: number, line: string, headers: string[] = WEB_SOCKET): Socket {
  // It keeps its own half open for as long as it likes.
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.after(() => socket.destroy())
  socket.on('error', () => {})
  socket.write(`${[`${line} HTTP/1.1`, 'host: x', ...headers].join('\r\n')}\r\n\r\n`)
  return socket
}

/** What comes until the other end says that no more does. */
async function answerOf(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  await once(socket, 'end')
  return text
}

function connections(app: Listening): Promise<number> {
  return new Promise((resolve) => app.server.getConnections((_error, count) => resolve(count)))
}

const REFUSED: Record<string, { line: string; headers?: string[]; status: number; code: string }> = {
  'a url that cannot be decoded': { line: 'GET /%zz', status: 400, code: 'REQUEST_INVALID' },
  'such a url among ours': { line: 'GET /api/tunnel/%zz', status: 400, code: 'REQUEST_INVALID' },
  'a path that nobody serves': { line: 'GET /nowhere', status: 404, code: 'ROUTE_UNKNOWN' },
  'a link without a token': { line: 'GET /api/tunnel/connect', status: 401, code: 'TOKEN_MISSING' },
  'a link that HEAD asks for': { line: 'HEAD /api/tunnel/connect', status: 401, code: '' },
  'a POST': {
    line: 'POST /api/tunnel/connect',
    headers: [...WEB_SOCKET, 'content-length: 5'],
    status: 400,
    code: 'REQUEST_INVALID',
  },
  'a PUT with a body that never comes': {
    line: 'PUT /api/tunnel/machines',
    headers: ['connection: upgrade', 'upgrade: h2c', 'transfer-encoding: chunked'],
    status: 400,
    code: 'REQUEST_INVALID',
  },
  'a key that is no key': {
    line: 'GET /open',
    headers: ['connection: upgrade', 'upgrade: websocket', 'sec-websocket-key: x'],
    status: 400,
    code: 'REQUEST_INVALID',
  },
}

test('whatever refuses an upgrade, it is answered and its socket is gone, although its peer keeps it open', async (t) => {
  const open = async (scope: FastifyInstance) => {
    scope.get('/open', { websocket: true }, () => {})
  }
  const { app, port } = await proxy(t, [open])
  for (const [what, { line, headers, status, code }] of Object.entries(REFUSED)) {
    const sinceMs = performance.now()
    const answer = await answerOf(ask(t, port, line, headers))
    // By its answer, and not by the time that an upgrade has at most.
    assert.ok(performance.now() - sinceMs < 6_000, what)
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), what)
    if (code !== '') assert.ok(answer.includes(`"code":"${code}"`), `${what}: ${answer}`)
  }
  await until(async () => (await connections(app)) === 0, 3_000)
})

test('hundreds of refused upgrades leave no descriptor behind', {
  skip: process.platform === 'linux' ? false : 'descriptors are counted in /proc',
}, async (t) => {
  const { app, port } = await proxy(t, [], 'rateLimit.perIpPerMinute=1000000')
  const descriptors = () => readdirSync('/proc/self/fd').length
  await answerOf(ask(t, port, 'GET /%zz'))
  await until(async () => (await connections(app)) === 0)
  const before = descriptors()
  for (let round = 0; round < 3; round++) {
    const strangers = Array.from({ length: 100 }, (_, index) =>
      ask(t, port, index % 2 === 0 ? 'GET /%zz' : 'POST /x'),
    )
    await Promise.all(strangers.map(answerOf))
    for (const stranger of strangers) stranger.destroy()
  }
  await until(async () => (await connections(app)) === 0)
  await until(() => descriptors() <= before + 2)
})

test('upgrades that mean nothing are limited by address like any other request', async (t) => {
  const { port } = await proxy(t, [], 'rateLimit.perIpPerMinute=3')
  const statuses: string[] = []
  for (const line of ['GET /%zz', 'POST /x', 'GET /%zz', 'POST /x', 'GET /%zz']) {
    statuses.push((await answerOf(ask(t, port, line))).slice(9, 12))
  }
  assert.deepEqual(statuses, ['400', '400', '400', '429', '429'])
})

test("a custom plugin's WebSocket is one whatever its path, with parameters too", async (t) => {
  const rooms = async (scope: FastifyInstance) => {
    scope.get<{ Params: { room: string } }>('/rooms/:room', { websocket: true }, (socket, { params }) => {
      socket.send(params.room)
      socket.close()
    })
  }
  const { port } = await proxy(t, [rooms])
  const socket = ask(t, port, 'GET /rooms/kitchen?x=1')
  const answer = answerOf(socket)
  socket.once('data', () => socket.end())
  assert.match(await answer, /^HTTP\/1\.1 101 [\s\S]*kitchen/)
})

test('a message in more fragments than ours ever have ends its WebSocket', async (t) => {
  const open = async (scope: FastifyInstance) => {
    scope.get('/open', { websocket: true }, (socket) => socket.send('hello'))
  }
  const { port } = await proxy(t, [open])
  const socket = new WebSocket(`ws://127.0.0.1:${port}/open`)
  t.after(() => socket.terminate())
  await once(socket, 'message')
  const closed = once(socket, 'close') as Promise<[number]>
  for (let count = 0; count < 100; count++) socket.send('x', { fin: false })
  assert.equal((await closed)[0], 1008)
})

test('an upgrade that nobody answers ends with its time', async (t) => {
  const app = Fastify({ frameworkErrors: answerUnrouted, clientErrorHandler: answerClientError })
  t.after(() => app.close())
  await registerGround(t, app)
  await registerAuth(app)
  await app.register(sockets, { behindProxy: false })
  await app.register(errors)
  await app.register(upgrade, { maxFrameBytes: 1_000, compress: false, pendingMs: 50 })
  const onRequest = () => new Promise<void>(() => {})
  app.get('/never', { websocket: true, onRequest }, () => {})
  app.get('/plain', { onRequest }, async () => 'never')
  const port = await listen(app as unknown as FastifyInstance)
  for (const path of ['/never', '/plain']) {
    const socket = ask(t, port, `GET ${path}`)
    socket.resume()
    await once(socket, 'end')
  }
  await until(async () => (await connections(app as unknown as FastifyInstance)) === 0)
})
