import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { respond, startProxy } from '../client/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, tunnel, tunnelLines } from './tunnel.ts'

/** `tunnel request` once or several times in a row, and the streams that a proxy sees of it, which `answer` answers. */
async function setUp(t: TestContext, answer: (stream: TunnelStream) => void) {
  const seen: TunnelStream[] = []
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      seen.push(stream)
      answer(stream)
    },
  })
  const env = isolated(await tempFolder(t), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: 'token' })
  return {
    seen,
    request: (...args: string[]) => tunnel(['request', ...args], { env }),
    requests: (lines: readonly string[][]) =>
      tunnelLines(
        lines.map((words) => ['request', ...words, 'http://home:1/']),
        env,
      ),
  }
}

test('--priority is what the stream is opened with: normal, unless another is named', async (t) => {
  const { seen, requests } = await setUp(t, (stream) => respond(stream, 200, 'ok'))
  const named = ['high', 'normal', 'low', 'urgent'].map((priority) => ['--priority', priority])
  const printed = await requests([[], ...named])
  assert.deepEqual(
    printed.map(({ stdout }) => stdout),
    ['ok', 'ok', 'ok', 'ok', ''],
  )
  assert.deepEqual(
    seen.map(({ head }) => head.priority),
    ['normal', 'high', 'normal', 'low'],
  )
  const { code, stderr } = printed[4]!
  assert.equal(code, 2)
  assert.match(stderr, /--priority is one of high, normal, low, not "urgent"/)
})

test('a POST whose fate is unknown is sent again with --idempotent, and never without', async (t) => {
  const lost = new TunnelError('UNKNOWN_STREAM', 'what was that?', { hop: 'client' })
  let tries = 0
  const { seen, request } = await setUp(t, (stream) => {
    if (++tries % 2 === 1) stream.reset(lost)
    else respond(stream, 200, 'done')
  })
  const marked = await request('--idempotent', '-d', 'x=1', 'http://home:1/')
  assert.deepEqual([marked.code, marked.stdout, seen.length], [0, 'done', 2], marked.stderr)
  tries = 0
  const plain = await request('-d', 'x=1', 'http://home:1/')
  assert.deepEqual([plain.code, plain.stdout, seen.length], [1, '', 3])
  assert.match(plain.stderr, /OUTCOME_UNKNOWN/)
})

test('-m limits how long the answer may take to begin, in seconds', async (t) => {
  const { requests } = await setUp(t, () => {})
  for (const { code, stderr } of await requests(['-m', '--max-time'].map((option) => [option, '0.25']))) {
    assert.equal(code, 4)
    assert.match(stderr, /GET to home was not answered within 250 ms \(client, TIMEOUT\)/)
  }
  for (const { code, stderr } of await requests(
    ['0', 'soon', '-1', ''].map((nonsense) => ['-m', nonsense]),
  )) {
    assert.equal(code, 2, stderr)
    assert.match(stderr, /--max-time takes seconds/)
  }
})

test('-L follows a redirect on the machine; without it the redirect is the answer', async (t) => {
  const { seen, requests } = await setUp(t, (stream) => {
    if (stream.head.http?.path === '/there') return respond(stream, 200, 'arrived')
    respond(stream, 302, 'moved', [['location', 'http://127.0.0.1:1/there']])
  })
  const printed = await requests([[], ['-L'], ['--location']])
  assert.deepEqual(
    printed.map(({ stdout }) => stdout),
    ['moved', 'arrived', 'arrived'],
  )
  const paths = seen.map(({ head }) => head.http?.path)
  assert.deepEqual(paths, ['/', '/', '/there', '/', '/there'])
})

test('a header is sent as the bytes that the terminal gave, which are UTF-8', async (t) => {
  const { seen, request } = await setUp(t, (stream) => respond(stream, 200, 'ok'))
  assert.equal((await request('-H', 'X-A: ü €', 'http://home:1/')).stdout, 'ok')
  const value = seen[0]?.head.http?.headers.find(([name]) => name === 'x-a')?.[1]
  assert.equal(Buffer.from(value ?? '', 'latin1').toString(), 'ü €')
})

test('--data from a file, from stdin or as text is a form of known length, unless a header says otherwise', async (t) => {
  const bodies: string[] = []
  const { seen, request } = await setUp(t, (stream) => {
    const chunks: Buffer[] = []
    stream.handle({
      data: (bytes) => {
        chunks.push(Buffer.from(bytes))
        stream.consumed(bytes.length)
      },
      ended: () => {
        bodies.push(Buffer.concat(chunks).toString())
        stream.event({ http: { status: 200, statusText: '', headers: [] } })
        stream.end()
      },
    })
    stream.accept()
  })
  const file = join(await tempFolder(t), 'body')
  await writeFile(file, '6bytes')
  for (const data of [`@${file}`, '6bytes'])
    assert.equal((await request('-X', 'PUT', '-d', data, 'http://home:1/')).code, 0)
  for (const { head } of seen) {
    const headers = Object.fromEntries(head.http?.headers ?? [])
    assert.equal(headers['content-length'], '6')
    assert.equal(headers['content-type'], 'application/x-www-form-urlencoded')
  }
  assert.deepEqual(bodies, ['6bytes', '6bytes'])
  assert.equal((await request('-d', `@${file}`, '-H', 'Content-Type: text/x', 'http://home:1/')).code, 0)
  assert.equal(Object.fromEntries(seen[2]?.head.http?.headers ?? [])['content-type'], 'text/x')
  // stdin is empty here, and its length is known all the same.
  assert.equal((await request('-d', '@-', 'http://home:1/')).code, 0)
  assert.equal(Object.fromEntries(seen[3]?.head.http?.headers ?? [])['content-length'], '0')
})

test('--target says where on the machine the service listens', async (t) => {
  const { seen, request } = await setUp(t, (stream) => respond(stream, 200, 'ok'))
  assert.equal((await request('--target', '[::1]:8080', 'http://home:8080/')).stdout, 'ok')
  assert.equal(seen[0]?.head.target, '[::1]:8080')
})
