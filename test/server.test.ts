import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { WebSocket } from 'ws'
import { loadSettings } from '../config/index.ts'
import { signToken } from '../plugins/auth/tokens.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import { type BuildOptions, buildServer } from '../server.ts'
import { makeCertificate } from './support/certificate.ts'

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'tunnel-server-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

function settingsIn(stateDir: string, ...flags: string[]) {
  return loadSettings({ stateDir, env: {}, flags }).settings
}

async function build(t: TestContext, options: Partial<BuildOptions> = {}) {
  const lines: string[] = []
  const logStream = { write: (line: string) => void lines.push(line) }
  const app = await buildServer({ settings: settingsIn(folder(t)), logStream, ...options })
  t.after(() => app.close())
  return { app, lines }
}

async function listen(t: TestContext, options: Partial<BuildOptions> = {}) {
  const { app, lines } = await build(t, options)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as { port: number }
  return { app, lines, port }
}

function allow(decide: () => void) {
  return fp(async (app) => void app.decorate('policy', { check: async () => decide() }), {
    name: 'tunnel-policy',
    fastify: '5.x',
  })
}

test('a server with the defaults starts, is ready, and answers the unknown with a problem document', async (t) => {
  const { app } = await build(t)
  assert.equal((await app.inject('/api/tunnel/health')).statusCode, 200)
  const ready = await app.inject('/api/tunnel/health/ready')
  assert.equal(ready.statusCode, 200, ready.body)
  assert.match((await app.inject('/api/tunnel/metrics')).body, /^# TYPE tunnel_requests_total counter$/m)
  const unknown = await app.inject('/api/tunnel/nothing')
  assert.equal(unknown.headers['content-type'], 'application/problem+json; charset=utf-8')
  assert.equal(unknown.json<{ code: string }>().code, 'ROUTE_UNKNOWN')
  for (const service of [
    'state',
    'auth',
    'policy',
    'rateLimits',
    'breaker',
    'machines',
    'ssh',
    'pool',
    'forward',
  ]) {
    assert.ok(app.hasDecorator(service), service)
  }
})

test('the log says once who asked, also on a route that asks for a role', async (t) => {
  const { app, lines } = await build(t)
  const token = app.auth.sign({ sub: 'alice', tier: 'free', roles: [], ttlSeconds: 60 })
  const headers = { authorization: `Bearer ${token}` }
  for (const [path, status] of [
    ['machines', 200],
    ['cluster', 403],
  ] as const) {
    assert.equal((await app.inject({ url: `/api/tunnel/${path}`, headers })).statusCode, status)
    const line = lines.findLast((line) => line.includes(`"/api/tunnel/${path}"`))
    assert.equal(line?.match(/"userId"/g)?.length, 1, line)
  }
})

test('a user is known by his token and sees his own machines', async (t) => {
  const settings = settingsIn(folder(t))
  const { app } = await build(t, { settings })
  const token = signToken(settings.auth.secret, { sub: 'alice', tier: 'free', roles: [], ttlSeconds: 60 })
  const ask = (authorization?: string) =>
    app.inject({ url: '/api/tunnel/machines', headers: authorization === undefined ? {} : { authorization } })
  assert.deepEqual((await ask(`Bearer ${token}`)).json(), [])
  for (const [authorization, code] of [
    [undefined, 'TOKEN_MISSING'],
    [`Bearer ${token}x`, 'TOKEN_INVALID'],
  ] as const) {
    const refused = await ask(authorization)
    assert.equal(refused.statusCode, 401)
    assert.equal(refused.json<{ code: string }>().code, code)
  }
})

test("a custom plugin with a built-in's name takes its place, and what depends on it by name still starts", async (t) => {
  let asked = 0
  const { app } = await build(t, { plugins: [allow(() => void asked++)] })
  await app.policy.check({} as never)
  assert.equal(asked, 1)
})

test('a custom plugin sees every service, and its hooks hold for the routes of the proxy', async (t) => {
  const refuse = fp(
    async (app) => {
      assert.ok(app.auth && app.state && app.health)
      app.health.addCheck('mine', () => undefined)
      app.addHook('onRequest', async (request) => {
        if (request.headers['x-refuse'] !== undefined)
          throw new TunnelError('POLICY_DENIED', 'not today', { hop: 'client' })
      })
    },
    { name: 'refuse' },
  )
  const { app } = await build(t, { plugins: [refuse] })
  const refused = await app.inject({ url: '/api/tunnel/health', headers: { 'x-refuse': '1' } })
  assert.equal(refused.statusCode, 403)
  assert.equal(refused.json<{ detail: string }>().detail, 'not today')
  const ready = await app.inject('/api/tunnel/health/ready')
  assert.equal(ready.json<{ checks: Record<string, unknown> }>().checks.mine !== undefined, true)
})

test('a custom plugin of the usual kind adds its routes without any wrapper', async (t) => {
  const { app } = await build(t, {
    plugins: [
      async (scope: FastifyInstance) => {
        scope.get('/mine', async () => ({ hello: 'world' }))
      },
    ],
  })
  assert.deepEqual((await app.inject('/mine')).json(), { hello: 'world' })
})

test('a server that does not start leaves nothing open: the same state folder serves the next one', async (t) => {
  const settings = settingsIn(folder(t))
  const broken = async () => {
    throw new TunnelError('CONFIG_INVALID', 'this plugin does not like the weather', { hop: 'client' })
  }
  const quiet = { write: () => {} }
  await assert.rejects(
    buildServer({ settings, plugins: [broken], logStream: quiet }),
    /does not like the weather/,
  )
  const { app } = await build(t, { settings })
  assert.equal((await app.inject('/api/tunnel/health/ready')).statusCode, 200)
})

test('two proxies cannot share a state folder, and the second is told which', async (t) => {
  const settings = settingsIn(folder(t))
  await build(t, { settings })
  await assert.rejects(buildServer({ settings, logStream: { write: () => {} } }), (error) => {
    assert.ok(error instanceof TunnelError)
    assert.equal(error.code, 'CONFIG_INVALID')
    assert.ok(error.message.includes(settings.state.dir))
    return true
  })
})

test('a refused upgrade is answered with a problem document and its correlation id, and leaks no descriptor', async (t) => {
  const { app, port } = await listen(t)
  const refusal = async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/api/tunnel/nothing`, {
      headers: { 'x-correlation-id': 'upgrade-0001' },
    })
    socket.on('error', () => {})
    const [request, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    await once(response, 'close')
    assert.ok(request)
    return { response, body: Buffer.concat(chunks).toString() }
  }
  const { response, body } = await refusal()
  assert.equal(response.statusCode, 404)
  assert.equal(response.headers['x-correlation-id'], 'upgrade-0001')
  assert.equal((JSON.parse(body) as { correlationId: string }).correlationId, 'upgrade-0001')

  const connections = () =>
    new Promise<number>((resolve) => app.server.getConnections((_, count) => resolve(count)))
  const descriptors = () => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0)
  const before = descriptors()
  for (let i = 0; i < 50; i++) await refusal()
  // A socket is destroyed a turn after its answer is out.
  while ((await connections()) > 0) await new Promise(setImmediate)
  assert.ok(descriptors() <= before + 2, `${before} descriptors became ${descriptors()}`)
})

test('an accepted upgrade says its correlation id as well', async (t) => {
  const echo = async (scope: FastifyInstance) => {
    scope.get('/echo', { websocket: true }, (socket, request) => socket.send(request.id))
  }
  const { port } = await listen(t, { plugins: [echo] })
  const socket = new WebSocket(`ws://127.0.0.1:${port}/echo`, {
    headers: { 'x-correlation-id': 'upgrade-0002' },
  })
  t.after(() => socket.terminate())
  const upgraded = once(socket, 'upgrade') as Promise<[IncomingMessage]>
  const said = once(socket, 'message') as Promise<[Buffer]>
  assert.equal((await upgraded)[0].headers['x-correlation-id'], 'upgrade-0002')
  assert.equal(String((await said)[0]), 'upgrade-0002')
})

test('closing does not wait for an idle keep-alive connection', async (t) => {
  const { app, port } = await listen(t)
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write('GET /api/tunnel/health HTTP/1.1\r\nhost: x\r\n\r\n')
  await once(socket, 'data')
  const startedMs = performance.now()
  socket.resume()
  await Promise.all([app.close(), once(socket, 'close')])
  assert.ok(performance.now() - startedMs < 2_000)
})

test("links live until the plugins' preClose hooks are done, and those that remain are told 1012", async (t) => {
  const seen: string[] = []
  const links = fp(
    async (app: FastifyInstance) => {
      app.get('/link', { websocket: true }, (socket) => socket.send('hello'))
      app.addHook('preClose', async () => {
        for (const socket of app.websocketServer.clients)
          seen.push(`open: ${socket.readyState === socket.OPEN}`)
      })
    },
    { name: 'links' },
  )
  const { app, port } = await listen(t, { plugins: [links] })
  const socket = new WebSocket(`ws://127.0.0.1:${port}/link`)
  t.after(() => socket.terminate())
  await once(socket, 'message')
  const [[code, reason]] = await Promise.all([
    once(socket, 'close') as Promise<[number, Buffer]>,
    app.close(),
  ])
  assert.deepEqual(seen, ['open: true'])
  assert.equal(code, 1012)
  assert.equal(String(reason), 'SHUTTING_DOWN')
})

test('a peer that does not answer holds up no close for long', async (t) => {
  const silent = async (scope: FastifyInstance) => {
    scope.get('/link', { websocket: true }, (socket) => socket.send('hello'))
  }
  const { app, port } = await listen(t, { plugins: [silent] })
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  const upgrade = ['GET /link HTTP/1.1', 'host: x', 'connection: upgrade', 'upgrade: websocket']
  const key = 'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=='
  socket.write(`${[...upgrade, 'sec-websocket-version: 13', key].join('\r\n')}\r\n\r\n`)
  await once(socket, 'data')
  const startedMs = performance.now()
  await app.close()
  assert.ok(performance.now() - startedMs < 5_000)
})

test('the log of a server is the lines of the contract, without the tokens that were tried', async (t) => {
  const { app, lines } = await build(t)
  const token = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl'
  await app.inject({
    url: `/api/tunnel/nothing?token=${token}`,
    headers: { authorization: `Bearer ${token}` },
  })
  const line = JSON.parse(lines.find((text) => text.includes('/api/tunnel/nothing')) ?? '{}') as Record<
    string,
    unknown
  >
  assert.deepEqual(Object.keys(line).sort(), ['context', 'correlationId', 'level', 'message', 'timestamp'])
  assert.doesNotMatch(lines.join(''), /eyJ|c2lnbmF0dXJl/)
})

test('with a certificate it speaks TLS of the wanted version and nothing older', async (t) => {
  const made = await makeCertificate(t)
  if (made === undefined) return t.skip('there is no openssl to make a certificate with')
  const files = [`server.tls.cert=${made.certFile}`, `server.tls.key=${made.keyFile}`]
  const settings = settingsIn(folder(t), ...files)
  const { port } = await listen(t, { settings })
  const get = async (options: object) => {
    const request = httpsRequest({
      host: '127.0.0.1',
      port,
      path: '/api/tunnel/health',
      rejectUnauthorized: false,
      agent: false,
      ...options,
    })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    response.resume()
    return response.statusCode
  }
  assert.equal(await get({}), 200)
  await assert.rejects(get({ maxVersion: 'TLSv1.2' }), /protocol version|handshake/i)
  const plain = httpRequest({ host: '127.0.0.1', port, path: '/api/tunnel/health', agent: false })
  plain.end()
  await assert.rejects(once(plain, 'response'))
})

test('closing waits neither for a connection that asks nothing nor for half a request', async (t) => {
  const { app, port } = await listen(t)
  const sockets = ['', 'POST /api/tunnel/health HTTP/1.1\r\nhost: x\r\n'].map((text) => {
    const socket = connect(port, '127.0.0.1', () => text !== '' && socket.write(text))
    t.after(() => socket.destroy())
    return socket.on('error', () => {})
  })
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  const closed = sockets.map((socket) => new Promise((resolve) => socket.resume().once('close', resolve)))
  await app.close()
  await Promise.all(closed)
})

/** What the server says to these bytes, until it ends the connection. */
async function rawAnswer(t: TestContext, port: number, lines: string[]): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  let text = ''
  for await (const chunk of socket.setEncoding('utf8')) text += chunk
  return text
}

test('an upgrade that means nothing here is answered like a request without it', async (t) => {
  const { port } = await listen(t)
  const upgradeTo = (protocol: string, line = 'GET /api/tunnel/health HTTP/1.1', more: string[] = []) =>
    rawAnswer(t, port, [line, 'host: x', 'connection: upgrade', `upgrade: ${protocol}`, ...more])
  assert.match(await upgradeTo('h2c'), /^HTTP\/1\.1 200 [\s\S]*"status"/)
  const webSocket = ['sec-websocket-version: 13', 'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==']
  assert.match(await upgradeTo('websocket', undefined, webSocket), /^HTTP\/1\.1 200 [\s\S]*"status"/)
  const post = await upgradeTo('h2c', 'POST /api/tunnel/health HTTP/1.1', ['content-length: 2'])
  assert.match(post, /^HTTP\/1\.1 400 [\s\S]*application\/problem\+json[\s\S]*"code":"REQUEST_INVALID"/)
})

test('what is no HTTP, or too much of it, is a problem document too', async (t) => {
  const { port, app } = await listen(t)
  assert.match(await rawAnswer(t, port, ['NONSENSE']), /^HTTP\/1\.1 400 [\s\S]*"code":"REQUEST_INVALID"/)
  const long = await rawAnswer(t, port, ['GET / HTTP/1.1', 'host: x', `x: ${'y'.repeat(40_000)}`])
  assert.match(long, /^HTTP\/1\.1 431 [\s\S]*"code":"REQUEST_INVALID"/)
  const headers = { 'content-type': 'application/json' }
  const large = await app.inject({ method: 'POST', url: '/', headers, payload: `"${'x'.repeat(2_000)}"` })
  assert.deepEqual([large.statusCode, large.json<{ code: string }>().code], [413, 'REQUEST_INVALID'])
})

test('whoever looks for routes is counted like whoever asks one', async (t) => {
  const dir = folder(t)
  const { app } = await build(t, { settings: settingsIn(dir, 'rateLimit.perIpPerMinute=3') })
  const statuses = []
  for (let count = 0; count < 5; count++) statuses.push((await app.inject('/nowhere')).statusCode)
  assert.deepEqual(statuses, [404, 404, 404, 429, 429])
})

test('a custom plugin that does not start is named', async (t) => {
  const broken = fp(
    async () => {
      throw new Error('no database')
    },
    { name: 'my-directory' },
  )
  await assert.rejects(build(t, { plugins: [broken] }), {
    code: 'CONFIG_INVALID',
    message: 'the plugin my-directory did not start: no database',
  })
})
