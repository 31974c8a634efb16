import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import type { Redial, TunnelStatus } from '../../client/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { StreamDuplex } from '../../protocol/node/duplex.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { clientOf, collect, deferred, next, respond, startProxy } from './proxy.ts'

function echo(stream: TunnelStream): void {
  stream.accept()
  const duplex = new StreamDuplex(stream)
  duplex.on('error', () => {})
  duplex.pipe(duplex)
}

test('a client connects, says its state, and is closed for good', async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const tunnel = clientOf(t, proxy.url)
  const states: string[] = []
  tunnel.on('state', (state) => states.push(state))
  await assert.rejects(tunnel.forwardRequest({ machine: 'home' }), { code: 'LINK_LOST' })
  await Promise.all([tunnel.connect(), tunnel.connect()])
  assert.equal(proxy.links.length, 1)
  assert.equal(tunnel.state, 'connected')
  await tunnel.disconnect()
  assert.deepEqual(states, ['connecting', 'connected', 'closed'])
  await assert.rejects(tunnel.connect(), { code: 'ABORTED' })
  await assert.rejects(tunnel.exec('home', 'true'), { code: 'ABORTED' })
})

test('the status has what is known in each state: the next dial while it reconnects, the reason when it gave up', async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const { port } = proxy
  const settings = { backoff: { baseMs: 1, maxMs: 2, maxAttempts: 3 } }
  const tunnel = clientOf(t, proxy.url, { settings })
  const seen: TunnelStatus[] = []
  tunnel.on('state', (state, status) => {
    assert.equal(status.state, state)
    seen.push(status)
  })
  assert.deepEqual(tunnel.status, { state: 'disconnected' })
  await tunnel.connect()
  const over = next<TunnelError>((listener) => tunnel.once('error', listener))
  await proxy.close()
  const reason = await over
  const [connecting, connected, reconnecting, closed] = seen
  assert.deepEqual([connecting?.state, connected?.state], ['connecting', 'connected'])
  assert.ok(reconnecting?.state === 'reconnecting' && reconnecting.error.code === 'LINK_LOST')
  assert.deepEqual([reconnecting.attempt, reconnecting.nextDialMs <= Date.now()], [1, true])
  assert.deepEqual(closed, { state: 'closed', reason, final: false })
  assert.equal(tunnel.status, closed)
  await startProxy(t, { onStream: echo }, port)
  await tunnel.connect()
  assert.equal(tunnel.state, 'connected')
  await tunnel[Symbol.asyncDispose]()
  assert.ok(tunnel.status.state === 'closed' && tunnel.status.final)
})

test('a stream that ends in the same breath as it is taken rejects the open, and ends no process', async (t) => {
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      stream.accept()
      // Behind the ACCEPT that leaves in a microtask, and in the same system call.
      queueMicrotask(() => stream.reset(new TunnelError('CONNECT_REFUSED', 'after all', { hop: 'client' })))
    },
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  await assert.rejects(tunnel.open({ machine: 'home', kind: 'ssh' }), { code: 'CONNECT_REFUSED' })
  assert.equal(tunnel.state, 'connected')
})

test('nobody at the address, and wrong settings, are told at once by category', async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const { url } = proxy
  await proxy.close()
  const tunnel = clientOf(t, url)
  await assert.rejects(tunnel.connect(), { code: 'CONNECT_REFUSED', category: 'network' })
  assert.equal(tunnel.state, 'closed')
  const wrong = clientOf(t, url, { settings: { heartbeat: { intervalMs: -1 } } })
  await assert.rejects(wrong.connect(), { code: 'CONFIG_INVALID' })
})

test('what a platform of the program throws is told as an error of the library, and counted as one', async (t) => {
  const thrown = new Error('the disk with the settings is away')
  const loadSettings = () => Promise.reject(thrown)
  const tunnel = clientOf(t, 'http://127.0.0.1:1', { platform: { loadSettings } })
  await assert.rejects(tunnel.connect(), (error) => {
    assert.ok(error instanceof TunnelError)
    assert.deepEqual([error.code, error.hop, error.cause], ['INTERNAL', 'client', thrown])
    assert.deepEqual(tunnel.status, { state: 'closed', reason: error, final: false })
    return true
  })
  const { errors } = tunnel.metrics.snapshot()
  assert.deepEqual(Object.keys(errors).sort(), [
    'authentication',
    'configuration',
    'network',
    'protocol',
    'server',
  ])
  assert.ok(Object.values(errors).every(Number.isInteger), JSON.stringify(errors))
})

test('a first dial may be patient, and go round the addresses', async (t) => {
  const late = await startProxy(t, { onStream: echo })
  const { port, url } = late
  await late.close()
  const tunnel = clientOf(t, url, { retryFirst: true })
  const redialled = next<Redial>((listener) => tunnel.once('reconnecting', listener))
  const connected = tunnel.connect()
  await redialled
  const again = await startProxy(t, { onStream: echo }, port)
  await connected
  assert.equal(again.links.length, 1)
  const either = clientOf(t, ['http://127.0.0.1:1', again.url])
  await either.connect()
  assert.equal(again.links.length, 2)
})

test('a stream outlives its link: what comes out is what went in', async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const tunnel = clientOf(t, proxy.url)
  const resumed: [string, number][] = []
  for (const name of ['reconnected', 'resumed'] as const)
    tunnel.on(name, ({ streams }) => resumed.push([name, streams]))
  await tunnel.connect()
  const duplex = await tunnel.open({ machine: 'home', kind: 'ssh' })
  const sent = randomBytes(3_000_000)
  const received = buffer(duplex)
  const half = sent.length / 2
  duplex.write(sent.subarray(0, half))
  proxy.cut()
  await next((listener) => tunnel.once('reconnected', listener))
  duplex.end(sent.subarray(half))
  assert.ok(sent.equals(await received))
  assert.deepEqual(resumed, [
    ['reconnected', 1],
    ['resumed', 1],
  ])
  const { reconnects, resumes, uptimeMs } = tunnel.metrics.snapshot()
  assert.deepEqual([reconnects, resumes], [1, 1])
  assert.ok(uptimeMs > 0 && JSON.stringify(tunnel.metrics).includes('"history":[{'))
})

test('the first redial is immediate, even when short links are cut again and again', async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const tunnel = clientOf(t, proxy.url, { settings: { backoff: { baseMs: 60_000 } } })
  const delays: number[] = []
  tunnel.on('reconnecting', ({ delayMs }) => delays.push(delayMs))
  await tunnel.connect()
  for (let cut = 0; cut < 10; cut++) {
    const resumed = next((listener) => tunnel.once('reconnected', listener))
    // A request shows that the link carries something.
    const duplex = await tunnel.open({ machine: 'home', kind: 'ssh' })
    duplex.end()
    await buffer(duplex)
    proxy.cut()
    await resumed
  }
  assert.deepEqual(delays, Array(10).fill(0))
})

test('when no dial succeeds the streams end, the client says why, and can connect anew', async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const { port } = proxy
  const tunnel = clientOf(t, proxy.url, {
    settings: { backoff: { baseMs: 1, maxMs: 2, maxAttempts: 3 }, streams: { resumeMs: 200 } },
  })
  await tunnel.connect()
  const duplex = await tunnel.open({ machine: 'home', kind: 'ssh' })
  const failed = once(duplex, 'error')
  const told = next<TunnelError>((listener) => tunnel.once('error', listener))
  await proxy.close()
  assert.equal((await told).code, 'CONNECT_REFUSED')
  // Its window is over, and so is the waiting for a link that it needed: either may be told first.
  assert.match(((await failed)[0] as TunnelError).code, /^(RESUME_EXPIRED|CONNECT_REFUSED)$/)
  assert.equal(tunnel.state, 'closed')
  await startProxy(t, { onStream: echo }, port)
  await tunnel.connect()
  const fresh = await tunnel.open({ machine: 'home', kind: 'ssh' })
  fresh.end('hello')
  assert.equal(String(await buffer(fresh)), 'hello')
})

test('a refused token is asked for once more, and then given up', async (t) => {
  let valid = 'second'
  const proxy = await startProxy(t, {
    onStream: echo,
    authorise: (token) => {
      if (token !== valid) throw new TunnelError('TOKEN_EXPIRED', 'too old', { hop: 'client' })
    },
  })
  const tokens = ['first', 'second', 'third', 'fourth', 'fifth']
  const tunnel = clientOf(t, proxy.url, { token: async () => tokens.shift()! })
  await tunnel.connect()
  assert.deepEqual(proxy.tokens, ['first', 'second'])
  valid = 'none'
  const told = next<TunnelError>((listener) => tunnel.once('error', listener))
  proxy.cut()
  assert.equal((await told).code, 'TOKEN_EXPIRED')
  assert.deepEqual(proxy.tokens, ['first', 'second', 'third', 'fourth'])
  assert.equal(tunnel.state, 'closed')
  const fixed = clientOf(t, proxy.url, { token: 'wrong' })
  await assert.rejects(fixed.connect(), { code: 'TOKEN_EXPIRED', category: 'authentication' })
})

test('before a token expires a fresh one goes over the link', async (t) => {
  const told = deferred<string>()
  const proxy = await startProxy(t, { onStream: echo, onAuth: told.resolve })
  let asked = 0
  const token = () => {
    const exp = Date.now() / 1_000 + (asked++ === 0 ? 1 : 3_600)
    return `x.${Buffer.from(JSON.stringify({ exp, asked })).toString('base64url')}.y`
  }
  const tunnel = clientOf(t, proxy.url, { token })
  await tunnel.connect()
  assert.notEqual(await told.promise, proxy.tokens[0])
  assert.equal(proxy.links.length, 1)
  assert.equal(asked, 2)
})

test('when the proxy leaves, the client dials first and moves its streams', async (t) => {
  const left = deferred<unknown>()
  const proxy = await startProxy(t, { onStream: echo, onLinkClosed: left.resolve })
  const other = await startProxy(t, { onStream: echo, acceptor: proxy.acceptor })
  const tunnel = clientOf(t, [proxy.url, other.url])
  const states: string[] = []
  await tunnel.connect()
  tunnel.on('state', (state) => states.push(state))
  const duplex = await tunnel.open({ machine: 'home', kind: 'ssh' })
  const sent = randomBytes(2_000_000)
  const received = buffer(duplex)
  duplex.write(sent.subarray(0, 1_000_000))
  proxy.link.goaway({ code: 'SHUTTING_DOWN', message: 'bye', deadlineMs: 10_000 })
  await left.promise
  duplex.end(sent.subarray(1_000_000))
  assert.ok(sent.equals(await received))
  assert.equal(other.links.length, 1)
  assert.deepEqual(states, [])
})

test('more requests than the link may carry wait their turn', async (t) => {
  let now = 0
  let most = 0
  const proxy = await startProxy(t, {
    maxStreams: 4,
    onStream: (stream) => {
      most = Math.max(most, ++now)
      setImmediate(() => {
        now--
        respond(stream, 200, 'ok')
      })
    },
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => tunnel.forwardRequest({ machine: 'home' })),
  )
  assert.ok(answers.every((answer) => answer.text() === 'ok'))
  assert.ok(most <= 4, `${most} at once`)
})

test('disconnect lets a request end, and cuts what does not', async (t) => {
  const opened = deferred<TunnelStream>()
  const proxy = await startProxy(t, { onStream: opened.resolve })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const answer = tunnel.forwardRequest({ machine: 'home' })
  const held = await opened.promise
  const over = tunnel.disconnect()
  respond(held, 200, 'late')
  assert.equal((await answer).text(), 'late')
  await over
  assert.equal(tunnel.state, 'closed')

  const cut = clientOf(t, proxy.url)
  await cut.connect()
  const never = cut.forwardRequest({ machine: 'home' })
  void cut.disconnect(1)
  await assert.rejects(never, { code: 'ABORTED' })
})

test('the machines are told by the proxy', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => void collect(stream) })
  assert.deepEqual(await clientOf(t, proxy.url).machines(), [{ name: 'home', online: true }])
})

test('with retryFirst a second connect() waits for the same first link', async (t) => {
  const refused = () =>
    Promise.reject(new TunnelError('CONNECT_REFUSED', 'nobody listens', { hop: 'client' }))
  const tunnel = clientOf(t, 'http://127.0.0.1:1', { retryFirst: true, platform: { dial: refused } })
  const first = tunnel.connect()
  await next((listener) => tunnel.once('reconnecting', listener))
  assert.equal(tunnel.connect(), first)
  const ended = assert.rejects(first, { code: 'ABORTED' })
  await tunnel.disconnect(0)
  await ended
})

test('the source of a body is told when its request is over', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => stream.accept() })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const told: string[] = []
  const stream = new ReadableStream<Uint8Array>({
    pull: () => new Promise(() => {}),
    cancel: () => void told.push('stream'),
  })
  const iterable = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise<IteratorResult<Uint8Array>>(() => {}),
      return: async () => {
        told.push('iterable')
        return { done: true as const, value: undefined }
      },
    }),
  }
  for (const body of [stream, iterable]) {
    const request = { machine: 'home', method: 'POST', body, timeoutMs: 50 }
    await assert.rejects(tunnel.forwardRequest(request), { code: 'OUTCOME_UNKNOWN' })
  }
  assert.deepEqual(told, ['stream', 'iterable'])
})

test('a piece of a body that is no bytes ends the request, and is not left out', async (t) => {
  const bodies: string[] = []
  const onStream = (stream: TunnelStream) => {
    stream.accept()
    collect(stream).then(
      (body) => {
        bodies.push(String(body))
        stream.event({ http: { status: 200, statusText: 'OK', headers: [] } })
        stream.end()
      },
      () => {},
    )
  }
  const proxy = await startProxy(t, { onStream })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const send = (...pieces: unknown[]) => {
    const body = (async function* () {
      yield* pieces as Uint8Array[]
    })()
    return tunnel.forwardRequest({ machine: 'home', method: 'POST', body })
  }
  await send('a', new Uint8Array([98]).buffer, new DataView(new Uint8Array([99]).buffer))
  await assert.rejects(send('a', 7, 'b'), { code: 'CONFIG_INVALID', message: /type number/ })
  assert.deepEqual(bodies, ['abc'])
})

test('disconnect ends an open stream that its owner has not ended, at once and without an error', async (t) => {
  const proxy = await startProxy(t, { onStream: echo })
  const tunnel = clientOf(t, proxy.url, { settings: { shutdown: { clientMs: 60_000 } } })
  await tunnel.connect()
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  const failed: unknown[] = []
  stream.on('error', (error) => failed.push(error))
  const closed = once(stream, 'close')
  await tunnel.disconnect()
  await closed
  assert.deepEqual(failed, [])
  assert.equal(tunnel.state, 'closed')
})

test('when disconnect has resolved, the proxy has been sent the last word of every stream', async (t) => {
  const ends: string[] = []
  const gone = deferred<void>()
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      stream.accept()
      new StreamDuplex(stream).on('error', (error) => ends.push((error as TunnelError).code)).resume()
    },
    onLinkClosed: () => gone.resolve(),
  })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  await tunnel.open({ machine: 'home', kind: 'ssh' })
  await tunnel.disconnect()
  await gone.promise
  assert.deepEqual(ends, ['ABORTED'])
})
