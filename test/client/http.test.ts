import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { clientOf, collect, deferred, respond, startProxy } from './proxy.ts'

const sha = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex')

test('a small request is one frame each way, and says what it was given', async (t) => {
  const proxy = await startProxy(t, {
    onStream: async (stream) => {
      const body = await collect(stream)
      respond(stream, 201, JSON.stringify({ ...stream.head, body: String(body) }), [
        ['X-Two', 'a'],
        ['x-two', 'b'],
      ])
    },
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const answer = await tunnel.forwardRequest({
    machine: 'home',
    port: 8080,
    method: 'POST',
    path: '/a?b=c',
    headers: { 'x-list': ['1', '2'], accept: 'text/plain' },
    body: 'grüße',
    priority: 'high',
  })
  assert.equal(answer.status, 201)
  assert.equal(answer.headers.get('x-two'), 'a, b')
  assert.deepEqual(answer.rawHeaders[0], ['X-Two', 'a'])
  const { target, priority, http, body, kind } = answer.json() as Record<string, unknown>
  assert.deepEqual(
    { target, priority, body, kind },
    { target: '127.0.0.1:8080', priority: 'high', body: 'grüße', kind: 'http' },
  )
  assert.deepEqual(http, {
    method: 'POST',
    path: '/a?b=c',
    headers: [
      ['x-list', '1'],
      ['x-list', '2'],
      ['accept', 'text/plain'],
      ['content-length', '7'],
    ],
  })
})

test('what could not be sent is refused before it is', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 200) })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const bad = [
    { path: 'x' },
    { path: '/a b' },
    { method: 'G ET' },
    { headers: { 'a\n': 'b' } },
    { headers: { a: 'b\r\nc' } },
    { port: 0 },
  ]
  for (const wrong of bad) {
    await assert.rejects(tunnel.forwardRequest({ machine: 'home', ...wrong }), { code: 'CONFIG_INVALID' })
  }
  await assert.rejects(tunnel.fetch('https://home/'), { code: 'CONFIG_INVALID' })
})

test('1,000 concurrent requests with bodies are never mixed up, over a link that is cut', async (t) => {
  const proxy = await startProxy(t, {
    onStream: async (stream) => {
      if (stream.head.http?.headers.some(([name]) => name === 'x-stream')) stream.accept()
      const body = await collect(stream)
      const answer = Buffer.from(sha(body))
      const head = {
        status: 200,
        statusText: 'OK',
        headers: [['x-path', stream.head.http!.path]] as [string, string][],
      }
      if (stream.state === 'opening') stream.accept({ http: head }, answer, true)
      else {
        stream.event({ http: head })
        stream.end(answer)
      }
    },
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  let answered = 0
  const one = async (index: number) => {
    const large = index % 10 === 0
    const body = randomBytes(large ? 100_000 : 200)
    const answer = await tunnel.forwardRequest({
      machine: 'home',
      method: 'POST',
      path: `/${index}`,
      body,
      headers: large ? { 'x-stream': '1' } : {},
    })
    assert.equal(answer.text(), sha(body))
    assert.equal(answer.headers.get('x-path'), `/${index}`)
    if (++answered === 300) proxy.cut()
  }
  await Promise.all(Array.from({ length: 1_000 }, (_, index) => one(index)))
  const { requests, successRate, reconnects } = tunnel.metrics.snapshot()
  assert.deepEqual({ requests, successRate, reconnects }, { requests: 1_000, successRate: 1, reconnects: 1 })
})

test('an idempotent request whose stream the proxy has forgotten is sent again, another says that nobody knows', async (t) => {
  const seen: string[] = []
  const keys: (string | undefined)[] = []
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      const { method, headers } = stream.head.http!
      seen.push(method)
      keys.push(headers.find(([name]) => name === 'Idempotency-Key')?.[1])
      if (seen.filter((one) => one === method).length > 1) respond(stream, 200, 'second')
      else stream.reset(new TunnelError('UNKNOWN_STREAM', 'the proxy was restarted', { hop: 'client' }))
    },
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  assert.equal((await tunnel.forwardRequest({ machine: 'home' })).text(), 'second')
  const post = { machine: 'home', method: 'POST', body: 'x' }
  const unknown = await tunnel.forwardRequest(post).catch((error: TunnelError) => error)
  assert.ok(unknown instanceof TunnelError)
  assert.equal(unknown.code, 'OUTCOME_UNKNOWN')
  assert.equal((unknown.cause as TunnelError).code, 'UNKNOWN_STREAM')
  assert.equal((await tunnel.forwardRequest({ ...post, method: 'PATCH', idempotent: true })).text(), 'second')
  assert.deepEqual(seen, ['GET', 'GET', 'POST', 'PATCH', 'PATCH'])
  const [first = '', second] = keys.slice(3)
  assert.match(first, /^"[-0-9a-f]{36}"$/)
  assert.deepEqual([keys.slice(0, 3), second], [[undefined, undefined, undefined], first])
})

test('a request that could not go on over the next link is not taken for one that was refused', async (t) => {
  const seen: string[] = []
  const arrived = deferred<void>()
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      seen.push(stream.head.http!.method)
      arrived.resolve()
    },
    onResume: ({ link, number }) =>
      link.refuse(number, new TunnelError('TOO_MANY_STREAMS', 'no more', { hop: 'proxy' })),
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const post = tunnel.forwardRequest({ machine: 'home', method: 'POST', body: 'x' })
  await arrived.promise
  proxy.cut()
  await assert.rejects(post, { code: 'OUTCOME_UNKNOWN' })
  assert.deepEqual(seen, ['POST'])
})

test('a request that is not answered ends in TIMEOUT, one that is called off in ABORTED, and the proxy is told', async (t) => {
  const ends: string[] = []
  const both = deferred<void>()
  const proxy = await startProxy(t, {
    onStream: (stream) =>
      stream.handle({
        closed: (error) => {
          ends.push(error?.code ?? 'orderly')
          if (ends.length === 2) both.resolve()
        },
      }),
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  await assert.rejects(tunnel.forwardRequest({ machine: 'home', timeoutMs: 20 }), {
    code: 'TIMEOUT',
    hop: 'client',
  })
  const abort = new AbortController()
  const called = tunnel.forwardRequest({ machine: 'home', signal: abort.signal })
  setImmediate(() => abort.abort())
  await assert.rejects(called, { code: 'ABORTED' })
  await both.promise
  assert.deepEqual(ends, ['TIMEOUT', 'ABORTED'])
  await assert.rejects(tunnel.forwardRequest({ machine: 'home', signal: AbortSignal.abort() }), {
    code: 'ABORTED',
  })
})

test('a request whose time was over before it was asked is not sent', async (t) => {
  const paths: string[] = []
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      paths.push(stream.head.http!.path)
      respond(stream, 200)
    },
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const late = { machine: 'home', path: '/late', expiresAt: 0 }
  await Promise.all(
    Array.from({ length: 20 }, () => assert.rejects(tunnel.forwardRequest(late), { code: 'TIMEOUT' })),
  )
  await tunnel.forwardRequest({ machine: 'home', path: '/next' })
  assert.deepEqual(paths, ['/next'])
})

test("the far side's refusal is the caller's error, with code and hop", async (t) => {
  const proxy = await startProxy(t, {
    onStream: (stream) =>
      stream.reset(new TunnelError('MACHINE_OFFLINE', 'home is off line', { hop: 'proxy', retryAfterMs: 9 })),
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const expected = { code: 'MACHINE_OFFLINE', category: 'network', hop: 'proxy', retryAfterMs: 9 }
  await assert.rejects(tunnel.forwardRequest({ machine: 'home' }), expected)
  await assert.rejects(tunnel.exec('home', 'true'), expected)
  await assert.rejects(tunnel.open({ machine: 'home', kind: 'ssh' }), expected)
  await assert.rejects(tunnel.fetch('http://home/'), expected)
  assert.equal(tunnel.metrics.snapshot().errors.network, 2)
})

test('an answer larger than the caller wants in memory ends in an error', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 200, Buffer.alloc(100_000)) })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  await assert.rejects(tunnel.forwardRequest({ machine: 'home', maxBodyBytes: 99_999 }), { code: 'ABORTED' })
  assert.equal((await tunnel.forwardRequest({ machine: 'home', maxBodyBytes: 100_000 })).body.length, 100_000)
})

test('a body that fails half way ends the request, and the proxy does not take it for whole', async (t) => {
  const ended = deferred<string | undefined>()
  const proxy = await startProxy(t, {
    onStream: (stream: TunnelStream) => {
      stream.accept()
      stream.handle({
        data: (bytes) => stream.consumed(bytes.length),
        ended: () => ended.resolve('whole'),
        closed: (error) => ended.resolve(error?.code),
      })
    },
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  async function* body() {
    yield 'half'
    throw new Error('disk on fire')
  }
  const request = tunnel.forwardRequest({ machine: 'home', method: 'POST', body: body() })
  await assert.rejects(
    request,
    (error: TunnelError) => error.code === 'ABORTED' && /disk on fire/.test(error.message),
  )
  assert.equal(await ended.promise, 'ABORTED')
})
