import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { healthChecks } from '../../../plugins/health/index.ts'
import logging, { createLogger, requestLogging } from '../../../plugins/logging/index.ts'
import type { LogLevel } from '../../../plugins/logging/options.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'

interface Line {
  timestamp: string
  level: string
  message: string
  userId?: string
  connectionId?: string
  correlationId?: string
  context?: Record<string, unknown>
}

function captured(level: LogLevel = 'trace') {
  const lines: string[] = []
  const logger = createLogger({ level }, { write: (line) => void lines.push(line) })
  const last = () => JSON.parse(lines.at(-1) ?? '{}') as Line
  return { logger, lines, last }
}

async function start(t: TestContext, routes: (app: FastifyInstance) => void, slowMs = 5_000) {
  const { logger, lines } = captured('debug')
  const app = Fastify({ ...requestLogging, loggerInstance: logger })
  t.after(() => app.close())
  await app.register(healthChecks)
  await app.register(logging, { slowMs })
  routes(app as unknown as FastifyInstance)
  await app.ready()
  return { app, lines: () => lines.map((line) => JSON.parse(line) as Line) }
}

test('a line has the fields of the contract and everything else inside its context', () => {
  const { logger, lines, last } = captured()
  const link = logger.child({ userId: 'alice', connectionId: 'c1', correlationId: 'r1', role: 'agent' })
  link.child({ streamId: 's1' }).info({ kind: 'tcp', context: { port: 80 } }, 'opened')
  const { timestamp, ...line } = last()
  assert.deepEqual(line, {
    level: 'INFO',
    userId: 'alice',
    connectionId: 'c1',
    correlationId: 'r1',
    context: { role: 'agent', streamId: 's1', kind: 'tcp', port: 80 },
    message: 'opened',
  })
  assert.equal(new Date(timestamp).toISOString(), timestamp)
  assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 5_000)
  assert.match(lines[0] ?? '', /^\{.*\}\n$/)
})

test('levels are the five of the contract, in capitals', () => {
  const { logger, lines } = captured()
  for (const level of ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const) logger[level]('x')
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as Line).level),
    ['ERROR', 'ERROR', 'WARN', 'INFO', 'DEBUG', 'TRACE'],
  )
})

test('an error is logged with its code, its stack and every cause', () => {
  const { logger, last } = captured()
  const cause = new Error('read ECONNRESET')
  logger.error(
    { err: new TunnelError('AGENT_LOST', 'the agent went away', { hop: 'proxy', cause }) },
    'stream over',
  )
  const err = last().context?.err as Record<string, unknown>
  assert.equal(err.code, 'AGENT_LOST')
  assert.match(String(err.stack), / at .*logging\.test\.[jt]s:\d+/)
  assert.equal((err.cause as Record<string, unknown>).message, 'read ECONNRESET')
  logger.error(new Error('bare'))
  assert.equal(last().message, 'bare')
  assert.deepEqual(Object.keys(last().context ?? {}), ['err'])
  assert.match(JSON.stringify(last().context), /"message":"bare"/)
})

test('no token, key, ticket or payload reaches the log, on whatever way', () => {
  const { logger, lines } = captured()
  const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlc2lnbmF0dXJl'
  const pem = '-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----'
  const opaque = 'hunter2hunter2'
  logger.info(`refused ${jwt}`)
  logger.info(
    { headers: { authorization: `Bearer ${opaque}`, cookie: opaque, 'x-ok': 'shown-1' } },
    'request',
  )
  logger.info({ deep: [{ auth: { secret: opaque, masterSecret: opaque, accessToken: opaque } }] }, 'settings')
  logger.info({ url: `/api/tunnel/connect?x=1&ticket=${opaque}&y=shown-2` }, 'upgrade')
  logger.child({ token: opaque, password: opaque }).info('child')
  logger.error({ err: new Error(`no luck with Bearer ${opaque}`, { cause: new Error(pem) }) }, 'failed')
  logger.info({ body: Buffer.from(opaque) }, 'bytes')
  logger.info({ ticket: opaque, passphrase: opaque, privateKey: pem }, 'keys')
  const text = lines.join('')
  assert.doesNotMatch(text, /hunter2|c2lnbmF0|b3BlbnNzaC1rZXk/)
  assert.ok(!text.includes(Buffer.from(opaque).toString('base64')))
  assert.match(text, /shown-1/)
  assert.match(text, /shown-2/)
  assert.equal(lines.length, 8)
  for (const line of lines) JSON.parse(line)
})

test('the level changes at run time, for the children that are there already as well', async (t) => {
  const { logger, lines } = captured('info')
  const app = Fastify({ ...requestLogging, loggerInstance: logger })
  t.after(() => app.close())
  const child = app.log.child({ connectionId: 'c1' }).child({ streamId: 's1' })
  child.debug('not yet')
  app.log.level = 'debug'
  child.debug('now')
  app.log.level = 'error'
  child.warn('no longer')
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as Line).message),
    ['now'],
  )
})

test('a well-formed correlation id is taken, returned and on every line of its request', async (t) => {
  const { app, lines } = await start(t, (app) => {
    app.get('/x', async (request) => {
      request.log.info({ machine: 'home' }, 'inside')
      return request.id
    })
  })
  const given = '4bf92f3577b34da6-a3ce929d_0e0e.4736'
  const answer = await app.inject({ url: '/x', headers: { 'x-correlation-id': given } })
  assert.equal(answer.headers['x-correlation-id'], given)
  assert.equal(answer.body, given)
  assert.deepEqual(
    lines().map(({ correlationId, message }) => [correlationId, message]),
    [
      [given, 'inside'],
      [given, 'request'],
    ],
  )
})

test('a correlation id that is not well formed is replaced, and two requests never share one', async (t) => {
  const { app } = await start(t, (app) => {
    app.get('/x', async () => 'yes')
  })
  const seen = new Set<unknown>()
  for (const given of [
    undefined,
    '',
    'short',
    'x'.repeat(129),
    'with space in',
    'quote"quote',
    '<script>alert</script>',
  ]) {
    const answer = await app.inject({
      url: '/x',
      headers: given === undefined ? {} : { 'x-correlation-id': given },
    })
    const id = answer.headers['x-correlation-id']
    assert.match(String(id), /^[0-9a-f-]{36}$/)
    seen.add(id)
  }
  assert.equal(seen.size, 7)
})

test('a slow request is a WARN and others are not; a query is never logged, and probes are quiet', async (t) => {
  const { app, lines } = await start(
    t,
    (app) => {
      app.get('/slow', async (_request, reply) => {
        // The hook reads the time that Fastify measured; a request of this length would be a sleep in the test.
        Object.defineProperty(reply, 'elapsedTime', { value: 250 })
        return 'late'
      })
      app.get('/fast', async () => 'soon')
      app.get('/api/tunnel/health', async () => 'well')
    },
    200,
  )
  await app.inject('/slow?ticket=hidden&plain=hidden')
  await app.inject('/fast')
  await app.inject('/api/tunnel/health')
  await app.inject('/nowhere?plain=hidden')
  assert.deepEqual(
    lines().map(({ level, context }) => [level, context?.route, context?.status]),
    [
      ['WARN', '/slow', 200],
      ['INFO', '/fast', 200],
      ['DEBUG', '/api/tunnel/health', 200],
      ['INFO', '/nowhere', 404],
    ],
  )
  assert.doesNotMatch(JSON.stringify(lines()), /hidden/)
})

test('a token is hidden wherever it stands, and what is no token stays as it is', () => {
  const { logger, lines } = captured()
  const token = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl'
  const places = [token, `/x?y=${token}#z`, `x-${token}`, `(${token})`, `${token}.`, `a.b.${token}`]
  for (const place of places) {
    logger.info({ context: { place } }, place)
    assert.doesNotMatch(lines.at(-1) ?? '', /eyJzdWI|c2lnbmF0dXJl/, place)
  }
  logger.info('tunnel.example.com, file.eyJ, 127.0.0.1, keyJob.run')
  assert.match(lines.at(-1) ?? '', /tunnel\.example\.com, file\.eyJ, 127\.0\.0\.1/)
})

test('what a stranger asks for is not logged at any length', async (t) => {
  const { app, lines } = await start(t, () => {})
  await app.inject(`/${'x'.repeat(10_000)}`)
  const line = lines().find(({ message }) => message === 'request')
  assert.ok(String(line?.context?.route).length <= 200)
})

test('a stranger who is refused again and again does not fill the log, and how much was left out is told', async (t) => {
  const { app, lines } = await start(t, (app) => {
    app.get('/ok', async () => 'yes')
  })
  for (let count = 0; count < 400; count++) await app.inject(`/nothing/${count}`)
  const refused = () => lines().filter(({ context }) => context?.status === 404)
  assert.ok(refused().length >= 100 && refused().length < 200, `${refused().length} lines`)
  // What is answered has its line all the same, and another refusal too.
  await app.inject('/ok')
  assert.equal(lines().at(-1)?.context?.status, 200)
  await app.inject({ method: 'POST', url: '/ok', headers: { 'content-type': 'x' }, payload: 'y' })
  assert.notEqual(lines().at(-1)?.context?.status, 200)
  await app.close()
  const leftOut = refused().reduce((sum, { context }) => sum + Number(context?.leftOut ?? 0), 0)
  const written = refused().filter(({ message }) => message === 'request').length
  const posted = lines().filter(({ context }) => context?.method === 'POST' && context.status === 404).length
  assert.equal(written - posted + leftOut, 400)
})
