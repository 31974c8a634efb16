import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { HeaderList } from '../../protocol/codec/heads.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { clientOf, collect, deferred, respond, startProxy } from './proxy.ts'

async function connected(t: TestContext, onStream: (stream: TunnelStream) => void) {
  const left = deferred<unknown>()
  const proxy = await startProxy(t, { onStream, onLinkClosed: left.resolve })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  return { proxy, tunnel, left: left.promise }
}

function ok(headers: HeaderList = []) {
  return { http: { status: 200, statusText: 'OK', headers } }
}

/** Answers at once, and then with each piece of the body as it comes. */
function echo(stream: TunnelStream): void {
  stream.accept()
  stream.event(ok())
  stream.handle({
    data: (bytes) => {
      stream.consumed(bytes.length)
      stream.write(bytes.slice())
    },
    ended: () => stream.end(),
  })
}

test('the answer is a real Response: status, headers, cookies, JSON', async (t) => {
  const { tunnel } = await connected(t, (stream) =>
    respond(stream, 418, '{"tea":true}', [
      ['Set-Cookie', 'a=1'],
      ['set-cookie', 'b=2'],
      ['content-type', 'application/json'],
    ]),
  )
  const response = await tunnel.fetch('http://home:11434/api/tags#here')
  assert.ok(response instanceof Response)
  assert.equal(response.status, 418)
  assert.equal(response.ok, false)
  assert.equal(response.url, 'http://home:11434/api/tags')
  assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'])
  assert.deepEqual(await response.json(), { tea: true })
})

test('statuses without a body have none, and leave no stream behind', async (t) => {
  const { proxy, tunnel, left } = await connected(t, (stream) =>
    respond(stream, Number(stream.head.http!.path.slice(1))),
  )
  for (const status of [204, 205, 304]) {
    const response = await tunnel.fetch(`http://home/${status}`)
    assert.equal(response.status, status)
    assert.equal(response.body, null)
  }
  await tunnel.disconnect()
  await left
  assert.equal(proxy.acceptor.size, 0)
})

test('a response that is produced over time arrives as it is produced', async (t) => {
  const opened = deferred<TunnelStream>()
  const { tunnel } = await connected(t, (stream) => {
    stream.accept(ok([['content-type', 'text/event-stream']]))
    opened.resolve(stream)
  })
  const response = await tunnel.fetch('http://home/events')
  const stream = await opened.promise
  const reader = response.body!.getReader()
  for (let index = 0; index < 5; index++) {
    stream.write(Buffer.from(`data: ${index}\n\n`))
    const { value } = await reader.read()
    assert.equal(Buffer.from(value!).toString(), `data: ${index}\n\n`)
  }
  stream.end()
  assert.equal((await reader.read()).done, true)
})

test('a request body streams up while the answer streams down', async (t) => {
  const { tunnel } = await connected(t, echo)
  const turns = new TransformStream<Uint8Array, Uint8Array>()
  const writer = turns.writable.getWriter()
  const response = await tunnel.fetch('http://home/echo', { method: 'POST', body: turns.readable })
  const reader = response.body!.getReader()
  for (const word of ['one', 'two', 'three']) {
    await writer.write(Buffer.from(word))
    assert.equal(Buffer.from((await reader.read()).value!).toString(), word)
  }
  await writer.close()
  assert.equal((await reader.read()).done, true)
})

test('forms and parameters arrive with the content type that describes them', async (t) => {
  const { tunnel } = await connected(t, async (stream) => {
    const headers = Object.fromEntries(stream.head.http!.headers)
    if (headers['content-length'] === undefined) stream.accept()
    const body = String(await collect(stream))
    if (stream.state === 'opening') respond(stream, 200, JSON.stringify({ headers, body }))
    else {
      stream.event(ok())
      stream.end(Buffer.from(JSON.stringify({ headers, body })))
    }
  })
  type Echo = { headers: Record<string, string>; body: string }
  const sent = async (body: RequestInit['body']) =>
    (await (await tunnel.fetch('http://home/', { method: 'POST', body: body as string })).json()) as Echo
  const parameters = await sent(new URLSearchParams({ a: '1 2' }))
  assert.match(parameters.headers['content-type']!, /^application\/x-www-form-urlencoded/)
  assert.deepEqual([parameters.body, parameters.headers['content-length']], ['a=1+2', '5'])
  const form = new FormData()
  form.set('field', 'value')
  const posted = await sent(form)
  assert.match(posted.headers['content-type']!, /^multipart\/form-data; boundary=/)
  assert.match(posted.body, /name="field"\r\n\r\nvalue/)
})

test('a slow reader slows its own stream alone', async (t) => {
  const slow = deferred<TunnelStream>()
  let written = 0
  const { tunnel } = await connected(t, (stream) => {
    if (stream.head.http!.path === '/quick') return respond(stream, 200, 'quick')
    stream.accept(ok())
    const chunk = Buffer.alloc(65_536, 1)
    const fill = () => {
      do written += chunk.length
      while (stream.write(chunk.subarray()) && written < 50_000_000)
    }
    stream.handle({ drained: fill })
    fill()
    slow.resolve(stream)
  })
  const response = await tunnel.fetch('http://home/slow')
  const stream = await slow.promise
  for (let index = 0; index < 50; index++) {
    assert.equal(await (await tunnel.fetch('http://home/quick')).text(), 'quick')
  }
  // Nobody reads: what was written is bounded by the window and the sender's own mark.
  assert.ok(written < 1_000_000, `${written} bytes were written`)
  const reader = response.body!.getReader()
  for (let size = 0; size < 2_000_000; ) size += (await reader.read()).value!.length
  const over = new Promise((resolve) => stream.handle({ closed: resolve }))
  await reader.cancel()
  assert.equal(((await over) as TunnelError).code, 'ABORTED')
})

test('an abort rejects as fetch does, before the answer and during its body', async (t) => {
  const { tunnel } = await connected(t, (stream) => {
    if (stream.head.http!.path === '/never') return stream.handle({})
    stream.accept(ok(), Buffer.from('begin'))
  })
  const before = new AbortController()
  const never = tunnel.fetch('http://home/never', { signal: before.signal })
  setImmediate(() => before.abort())
  await assert.rejects(never, { name: 'AbortError' })
  const during = new AbortController()
  const response = await tunnel.fetch('http://home/begun', { signal: during.signal })
  const reader = response.body!.getReader()
  assert.equal(Buffer.from((await reader.read()).value!).toString(), 'begin')
  during.abort()
  await assert.rejects(reader.read(), { name: 'AbortError' })
})

test('a large body of random bytes survives cuts both ways', async (t) => {
  const { proxy, tunnel } = await connected(t, echo)
  const body = randomBytes(6_000_000)
  const response = await tunnel.fetch('http://home/', { method: 'POST', body })
  const chunks: Uint8Array[] = []
  let size = 0
  let cutAt = 1_000_000
  for await (const chunk of response.body! as ReadableStream<Uint8Array> & AsyncIterable<Uint8Array>) {
    chunks.push(chunk)
    size += chunk.length
    if (size >= cutAt) {
      proxy.cut()
      cutAt += 1_500_000
    }
  }
  assert.ok(body.equals(Buffer.concat(chunks)))
  assert.ok(tunnel.metrics.snapshot().reconnects >= 1)
})

test('redirects on the machine are followed, and those that leave it are given to the caller', async (t) => {
  const { tunnel } = await connected(t, async (stream) => {
    const { path, method } = stream.head.http!
    const body = String(await collect(stream))
    if (path === '/absolute') return respond(stream, 307, '', [['location', 'http://127.0.0.1:81/end']])
    if (path === '/form') return respond(stream, 303, '', [['location', 'end']])
    if (path === '/away') return respond(stream, 302, '', [['location', 'https://example.org/']])
    if (path === '/loop') return respond(stream, 301, '', [['location', '/loop']])
    respond(
      stream,
      200,
      `${method} ${stream.head.target} ${body} ${JSON.stringify(stream.head.http!.headers)}`,
    )
  })
  const post = { method: 'POST', body: 'data', headers: { authorization: 'secret' } }
  const absolute = await tunnel.fetch('http://home/absolute', post)
  const text = await absolute.text()
  assert.match(text, /^POST 127\.0\.0\.1:81 data/)
  assert.doesNotMatch(text, /secret/)
  assert.equal(absolute.url, 'http://home:81/end')
  assert.equal(absolute.redirected, true)
  assert.match(
    await (await tunnel.fetch('http://home/form', post)).text(),
    /^GET 127\.0\.0\.1:80 {2}.*secret/,
  )
  assert.equal((await tunnel.fetch('http://home/away')).status, 302)
  assert.equal((await tunnel.fetch('http://home/form', { redirect: 'manual' })).status, 303)
  await assert.rejects(tunnel.fetch('http://home/form', { redirect: 'error' }), { code: 'ABORTED' })
  await assert.rejects(tunnel.fetch('http://home/loop'), { code: 'ABORTED' })
})
