import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import rateLimit from '@fastify/rate-limit'
import Fastify, { type FastifyInstance } from 'fastify'
import errors, { answerUnrouted } from '../../../plugins/errors/index.ts'
import { checkBody } from '../../../plugins/errors/json-body.ts'
import logging, { createLogger, requestLogging } from '../../../plugins/logging/index.ts'
import { ERROR_KINDS, type ErrorCode, TunnelError } from '../../../protocol/codec/errors.ts'
import { registerAuth, registerGround } from '../ground.ts'

interface ProblemDocument {
  type: string
  title: string
  status: number
  detail: string
  code: string
  category: string
  correlationId: string
  retryAfterMs?: number
}

async function start(t: TestContext, routes: (app: FastifyInstance) => void | Promise<void>) {
  const lines: string[] = []
  const app = Fastify({
    ...requestLogging,
    frameworkErrors: answerUnrouted,
    loggerInstance: createLogger({ level: 'debug' }, { write: (line) => void lines.push(line) }),
  })
  t.after(() => app.close())
  await registerGround(t, app)
  await registerAuth(app)
  await app.register(logging, { slowMs: 5_000 })
  await app.register(errors)
  await routes(app as unknown as FastifyInstance)
  await app.ready()
  return { app, lines, logged: () => lines.join('') }
}

test('every error code is answered as the problem document that the contract gives it', async (t) => {
  const { app } = await start(t, (app) => {
    app.get<{ Params: { code: ErrorCode } }>('/fail/:code', async (request) => {
      throw new TunnelError(request.params.code, 'what happened', { hop: 'proxy' })
    })
  })
  for (const [code, kind] of Object.entries(ERROR_KINDS)) {
    const answer = await app.inject({
      url: `/fail/${code}`,
      headers: { 'x-correlation-id': 'given-by-me-1' },
    })
    assert.equal(answer.statusCode, kind.status, code)
    assert.equal(answer.headers['content-type'], 'application/problem+json; charset=utf-8')
    const problem = answer.json<ProblemDocument>()
    assert.deepEqual(
      { ...problem, title: '', detail: '' },
      {
        type: `urn:tunnel:error:${code}`,
        title: '',
        status: kind.status,
        detail: '',
        code,
        category: kind.category,
        correlationId: 'given-by-me-1',
        hop: 'proxy',
      },
    )
    assert.match(problem.title, /^[A-Z][A-Za-z ]+$/)
    if (code !== 'INTERNAL') assert.equal(problem.detail, 'what happened')
    assert.equal(answer.headers['www-authenticate'], kind.status === 401 ? 'Bearer' : undefined)
  }
})

test('how long to wait is told in the document in ms and in Retry-After in whole seconds, never 0', async (t) => {
  const { app } = await start(t, (app) => {
    app.get<{ Querystring: { ms: string } }>('/busy', async (request) => {
      throw new TunnelError('RATE_LIMITED', 'slow down', {
        hop: 'proxy',
        retryAfterMs: Number(request.query.ms),
      })
    })
  })
  for (const [ms, seconds] of [
    [1, '1'],
    [1_000, '1'],
    [1_001, '2'],
  ] as const) {
    const answer = await app.inject(`/busy?ms=${ms}`)
    assert.equal(answer.headers['retry-after'], seconds)
    assert.equal(answer.json<ProblemDocument>().retryAfterMs, ms)
  }
})

test('what is thrown by accident says nothing outside and everything in the log, under one correlation id', async (t) => {
  const { app, lines, logged } = await start(t, (app) => {
    app.get('/bug', async () => {
      throw new TypeError('cannot read /etc/passwd of alice', { cause: new Error('the inner cause') })
    })
    app.get('/wrapped', async () => {
      throw new TunnelError('INTERNAL', 'cannot read /etc/passwd of alice', {
        hop: 'proxy',
        cause: new Error('the inner cause'),
      })
    })
    app.get('/text', async () => {
      throw 'cannot read /etc/passwd of alice'
    })
  })
  for (const url of ['/bug', '/wrapped', '/text']) {
    lines.length = 0
    const answer = await app.inject(url)
    assert.equal(answer.statusCode, 500)
    assert.doesNotMatch(answer.body, /alice|passwd|cause|at /)
    const { code, correlationId } = answer.json<ProblemDocument>()
    assert.equal(code, 'INTERNAL')
    const line = lines.find((text) => text.includes('"level":"ERROR"'))
    assert.ok(line !== undefined, logged())
    assert.ok(line.includes('cannot read /etc/passwd of alice'), line)
    assert.ok(line.includes(correlationId))
    if (url !== '/text') assert.ok(line.includes('the inner cause'))
  }
})

test("a request of the wrong form is the client's fault, and says which part of it", async (t) => {
  const { app, logged } = await start(t, (app) => {
    const body = {
      type: 'object',
      required: ['name'],
      properties: { name: { type: 'string', maxLength: 3 } },
    }
    app.post('/named', { schema: { body }, bodyLimit: 100 }, async () => 'taken')
  })
  const wrong = await app.inject({ method: 'POST', url: '/named', payload: { name: 'too long' } })
  assert.equal(wrong.statusCode, 400)
  assert.equal(wrong.json<ProblemDocument>().code, 'REQUEST_INVALID')
  assert.match(wrong.json<ProblemDocument>().detail, /name/)
  const large = await app.inject({ method: 'POST', url: '/named', payload: { name: 'x'.repeat(200) } })
  assert.equal(large.statusCode, 413)
  assert.equal(large.json<ProblemDocument>().code, 'REQUEST_INVALID')
  const notJson = await app.inject({
    method: 'POST',
    url: '/named',
    headers: { 'content-type': 'application/json' },
    payload: '{"name"',
  })
  assert.equal(notJson.statusCode, 400)
  assert.equal(notJson.json<ProblemDocument>().category, 'protocol')
  assert.doesNotMatch(logged(), /"level":"ERROR"/)
})

test('a path that nobody serves is 404, and its query is not repeated', async (t) => {
  const { app } = await start(t, () => {})
  const answer = await app.inject({ method: 'DELETE', url: '/api/tunnel/nowhere?ticket=hidden' })
  assert.equal(answer.statusCode, 404)
  const problem = answer.json<ProblemDocument>()
  assert.equal(problem.code, 'ROUTE_UNKNOWN')
  assert.equal(problem.detail, 'no route answers DELETE /api/tunnel/nowhere')
  assert.equal(answer.headers['x-correlation-id'], problem.correlationId)
})

test("@fastify/rate-limit's own refusal becomes RATE_LIMITED and keeps its Retry-After", async (t) => {
  const { app } = await start(t, async (app) => {
    await app.register(rateLimit, { max: 1, timeWindow: 30_000 })
    app.get('/limited', async () => 'yes')
  })
  assert.equal((await app.inject('/limited')).statusCode, 200)
  const refused = await app.inject('/limited')
  assert.equal(refused.statusCode, 429)
  const problem = refused.json<ProblemDocument>()
  assert.equal(problem.code, 'RATE_LIMITED')
  assert.equal(refused.headers['retry-after'], '30')
  assert.equal(problem.retryAfterMs, 30_000)
})

test("a route's response schema does not thin out the problem", async (t) => {
  const { app } = await start(t, (app) => {
    const error = { type: 'object', properties: { title: { type: 'string' } } }
    app.get('/schema', { schema: { response: { '4xx': error, 200: { type: 'object' } } } }, async () => {
      throw new TunnelError('MACHINE_UNKNOWN', 'you have no machine named x', { hop: 'proxy' })
    })
  })
  const problem = (await app.inject('/schema')).json<ProblemDocument & { hop: string }>()
  assert.equal(problem.code, 'MACHINE_UNKNOWN')
  assert.equal(problem.hop, 'proxy')
})

test('every refusal is counted by category and code', async (t) => {
  const { app } = await start(t, (app) => {
    app.get('/fail', async () => {
      throw new TunnelError('TOKEN_EXPIRED', 'over', { hop: 'proxy' })
    })
  })
  for (let i = 0; i < 3; i++) await app.inject('/fail')
  assert.match(
    await app.tunnelMetrics.read(),
    /^tunnel_errors_total\{category="authentication",code="TOKEN_EXPIRED"\} 3$/m,
  )
})

test('a url that cannot be decoded is refused like any other mistake', async (t) => {
  const { app } = await start(t, (app) => {
    app.get('/item/:name', async () => 'yes')
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as { port: number }
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write('GET /item/%E0%A4 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  await once(socket, 'end')
  const answer = Buffer.concat(chunks).toString()
  assert.match(answer, /^HTTP\/1\.1 400 /)
  assert.match(answer, /^x-correlation-id: [0-9a-f-]{36}\r$/m)
  const problem = JSON.parse(answer.slice(answer.indexOf('{'))) as ProblemDocument
  assert.equal(problem.code, 'REQUEST_INVALID')
})

test('what a body costs to look at grows with its length alone, whatever is in it', () => {
  const costOf = (body: string): number => {
    let leastMs = Number.POSITIVE_INFINITY
    for (let run = 0; run < 5; run++) {
      const beganMs = performance.now()
      checkBody(body)
      leastMs = Math.min(leastMs, performance.now() - beganMs)
    }
    return leastMs
  }
  // A text that never ends, in which each quote could begin another.
  const bodyOf = (quotes: number): string => `{"command":"${'\\"'.repeat(quotes)}`
  costOf(bodyOf(4_000))
  const ratio = costOf(bodyOf(64_000)) / costOf(bodyOf(4_000))
  assert.ok(ratio < 64, `16 times as long costs ${ratio} times as much`)
})

test('a body is no deeper and no fuller than a frame may be', async (t) => {
  const { app } = await start(t, (app) => {
    app.post('/', async () => 'taken')
  })
  const post = async (payload: string) =>
    (await app.inject({ method: 'POST', url: '/', headers: { 'content-type': 'application/json' }, payload }))
      .statusCode
  const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
  const full = (values: number) => JSON.stringify({ list: Array(values).fill(0) })
  assert.deepEqual([await post(deep(32)), await post(deep(33))], [200, 400])
  assert.deepEqual([await post(full(8_000)), await post(full(8_200))], [200, 400])
  // Punctuation within a text is text.
  assert.equal(await post(JSON.stringify({ text: '[{,'.repeat(10_000) })), 200)
})
