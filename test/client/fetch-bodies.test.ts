import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { runInNewContext } from 'node:vm'
import type { TunnelServiceOptions } from '../../client/index.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { collectGarbage } from '../support/garbage.ts'
import { until } from '../support/proxy.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { clientOf, deferred, respond, startProxy } from './proxy.ts'

/** Less than the window of a stream: so much has come while its sender waits for more room. */
const PART_BYTES = 131_072

async function connected(
  t: TestContext,
  onStream: (stream: TunnelStream) => void,
  more: Partial<TunnelServiceOptions> = {},
) {
  const proxy = await startProxy(t, { onStream })
  const tunnel = clientOf(t, proxy.url, more)
  await tunnel.connect()
  return { proxy, tunnel }
}

/** Answers with what of a request a service would see, once that is complete. */
function echo(stream: TunnelStream): void {
  const chunks: Buffer[] = []
  stream.accept()
  stream.handle({
    data: (bytes) => {
      chunks.push(Buffer.from(bytes))
      stream.consumed(bytes.length)
    },
    ended: () => {
      const headers = Object.fromEntries(stream.head.http?.headers ?? [])
      stream.event({ http: { status: 200, statusText: 'OK', headers: [] } })
      stream.end(Buffer.from(JSON.stringify({ headers, body: Buffer.concat(chunks).toString() })))
    },
  })
}

const large = 'x'.repeat(40_000)
const form = (content: string): FormData => {
  const made = new FormData()
  made.set('field "a"', 'value')
  made.set('file', new File([content], 'name.txt', { type: 'text/plain' }))
  return made
}
const realm = (): ArrayBuffer => runInNewContext('new Uint8Array([104, 105]).buffer')

for (const [what, body] of [
  ['a string', () => 'hi'],
  ['a small Blob', () => new Blob(['hi'])],
  ['a large Blob', () => new Blob([large])],
  ['a form', () => form('hi')],
  ['a form with a large file', () => form(large)],
  ['bytes', () => Buffer.from('hi')],
  ['words', () => new Uint16Array([1, 2, 3])],
  ['an ArrayBuffer of another realm', realm],
  ['a typed array of another realm', () => new Uint8Array(realm())],
  ['parameters', () => new URLSearchParams({ a: 'ü' })],
  ['an empty string', () => ''],
] as [string, () => NonNullable<RequestInit['body']>][]) {
  test(`${what} is sent with its length, and again after 307`, async (t) => {
    let redirects = 0
    const { tunnel } = await connected(t, (stream) => {
      if (stream.head.http?.path === '/' || redirects++ > 0) return echo(stream)
      respond(stream, 307, '', [['location', '/']])
    })
    const direct = (await (await tunnel.fetch('http://home/', { method: 'POST', body: body() })).json()) as {
      headers: Record<string, string>
      body: string
    }
    const made = new Request('http://home/', { method: 'POST', body: body() })
    const bytes = Buffer.from(await made.arrayBuffer())
    assert.equal(direct.headers['content-length'], String(Buffer.byteLength(direct.body)))
    if (!what.includes('form')) assert.equal(direct.body, bytes.toString())
    else
      assert.match(
        direct.body,
        /name="field %22a%22"\r\n\r\nvalue\r\n[\s\S]*filename="name.txt"\r\nContent-Type: text\/plain\r\n\r\n(hi|x{40000})\r\n--/,
      )
    const followed = await tunnel.fetch('http://home/elsewhere', { method: 'POST', body: body() })
    assert.deepEqual([followed.redirected, followed.status], [true, 200])
    assert.equal(((await followed.json()) as { body: string }).body.length, direct.body.length)
  })
}

test('a form that was built of a tunnel request can be read back as the form that it was', async (t) => {
  const { tunnel } = await connected(t, echo)
  const sent = form('hi')
  const { headers, body } = (await (
    await tunnel.fetch('http://home/', { method: 'POST', body: sent })
  ).json()) as { headers: Record<string, string>; body: string }
  const read = await new Response(body, {
    headers: { 'content-type': headers['content-type'] as string },
  }).formData()
  assert.deepEqual([...read.keys()], [...sent.keys()])
  assert.equal(await (read.get('file') as File).text(), 'hi')
})

test('integrity is checked: the right hash lets the body through, a wrong one rejects', async (t) => {
  const { tunnel } = await connected(t, (stream) => respond(stream, 200, 'content', [['x-a', '1']]))
  const hash = (algorithm: string, text: string) =>
    `${algorithm}-${createHash(algorithm).update(text).digest('base64')}`
  const right = hash('sha384', 'content')
  for (const integrity of [
    right,
    `${hash('sha256', 'other')} ${right}`,
    'md5-whatever',
    `${hash('sha384', 'x')} ${right}`,
  ]) {
    const response = await tunnel.fetch('http://home/', { integrity })
    assert.deepEqual([response.status, response.headers.get('x-a'), response.url], [200, '1', 'http://home/'])
    assert.equal(await response.text(), 'content')
  }
  for (const integrity of [
    hash('sha256', 'other'),
    `${hash('sha256', 'content')} ${hash('sha512', 'other')}`,
  ])
    await assert.rejects(tunnel.fetch('http://home/', { integrity }), {
      code: 'ABORTED',
      message: /integrity/,
    })
})

test('the answer to HEAD has no body at all', async (t) => {
  const { tunnel } = await connected(t, (stream) => respond(stream, 200, '', [['content-length', '12']]))
  const response = await tunnel.fetch('http://home/', { method: 'HEAD' })
  assert.deepEqual([response.body, response.headers.get('content-length')], [null, '12'])
})

test('an abort after the head rejects the body, though all of it may be here', async (t) => {
  const { tunnel } = await connected(t, (stream) => respond(stream, 200, 'all of it'))
  const abort = new AbortController()
  const response = await tunnel.fetch('http://home/', { signal: abort.signal })
  abort.abort()
  await assert.rejects(response.text(), { name: 'AbortError' })
})

test('a status above 599 and a phrase in another script are answers', async (t) => {
  const { tunnel } = await connected(t, (stream) => {
    const statusText = stream.head.http?.path === '/utf8' ? 'не найдено' : 'Whatever'
    stream.accept({ http: { status: 799, statusText, headers: [] } }, Buffer.from('body'), true)
  })
  for (const [path, statusText] of [
    ['/', 'Whatever'],
    ['/utf8', ''],
  ] as const) {
    const response = await tunnel.fetch(`http://home${path}`)
    assert.deepEqual([response.status, response.ok, response.statusText], [799, false, statusText])
    assert.equal(await response.text(), 'body')
  }
})

test('target says where the service listens, and a redirect to another port stays on that address', async (t) => {
  const seen: (string | undefined)[] = []
  const { tunnel } = await connected(t, (stream) => {
    seen.push(stream.head.target)
    if (stream.head.http?.path !== '/there')
      return respond(stream, 302, '', [['location', 'http://localhost:81/there']])
    respond(stream, 200, 'arrived')
  })
  const response = await tunnel.fetch('http://home:8080/', { target: '[::1]:8080' })
  assert.equal(await response.text(), 'arrived')
  assert.deepEqual(seen, ['[::1]:8080', '[::1]:81'])
})

test('a body that nobody reads and nobody can reach any more gives its stream back', async (t) => {
  const over = deferred<TunnelError | undefined>()
  const { tunnel } = await connected(t, (stream) => {
    stream.accept({ http: { status: 200, statusText: '', headers: [] } }, Buffer.from('begun'))
    stream.handle({ closed: over.resolve })
  })
  let ended = false
  void over.promise.then(() => {
    ended = true
  })
  const signal = new AbortController().signal
  await (async () => void (await tunnel.fetch('http://home/', { signal })))()
  for (let round = 0; round < 1_000 && !ended; round++) {
    collectGarbage()
    await new Promise(setImmediate)
  }
  assert.ok(ended, 'the stream is still open')
  assert.equal((await over.promise)?.code, 'ABORTED')
  assert.equal(signal.aborted, false)
})

test('a body that somebody holds is not taken for forgotten', async (t) => {
  const opened = deferred<TunnelStream>()
  const { tunnel } = await connected(t, (stream) => {
    stream.accept({ http: { status: 200, statusText: '', headers: [] } }, Buffer.from('begun '))
    opened.resolve(stream)
  })
  const reader = await (async () => (await tunnel.fetch('http://home/')).body!.getReader())()
  for (let round = 0; round < 5; round++) {
    collectGarbage()
    await new Promise(setImmediate)
  }
  const stream = await opened.promise
  stream.end(Buffer.from('and ended'))
  const chunks: Uint8Array[] = []
  for (let part = await reader.read(); !part.done; part = await reader.read()) chunks.push(part.value)
  assert.equal(Buffer.concat(chunks).toString(), 'begun and ended')
})

test('an upload is not late while it moves, and is when it stands still', async (t) => {
  const clock = new VirtualClock()
  let stream: TunnelStream | undefined
  let held = 0
  let isSlow = true
  const take = (bytes: number): void => {
    held -= bytes
    stream?.consumed(bytes)
  }
  const onStream = (it: TunnelStream): void => {
    stream = it
    it.accept()
    it.handle({
      data: (bytes) => {
        held += bytes.length
        if (!isSlow) take(held)
      },
      ended: () => {
        it.event({ http: { status: 200, statusText: '', headers: [] } })
        it.end()
      },
    })
  }
  const { tunnel } = await connected(t, onStream, { platform: { clock } })
  const answer = tunnel.fetch('http://home/', {
    method: 'POST',
    body: Buffer.alloc(1_500_000),
    timeoutMs: 400,
  })
  // Takes a part of the window at a time: each wait is shorter than the time-out, and all together are longer.
  for (let waitedMs = 0; waitedMs < 1_200; waitedMs += 150) {
    await until(() => held >= PART_BYTES)
    await clock.run(clock.now() + 150)
    take(PART_BYTES)
  }
  isSlow = false
  take(held)
  assert.equal((await answer).status, 200)
  isSlow = true
  let isOver = false
  const still = tunnel
    .fetch('http://home/', { method: 'POST', body: Buffer.alloc(4_000_000), timeoutMs: 200 })
    .finally(() => {
      isOver = true
    })
  const rejected = assert.rejects(still, (error: TunnelError) => {
    assert.equal(error.code, 'OUTCOME_UNKNOWN')
    return (error.cause as TunnelError).code === 'TIMEOUT'
  })
  await until(async () => {
    await clock.run(clock.now() + 100)
    return isOver
  })
  await rejected
})
