import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { gzipSync } from 'node:zlib'
import type { TunnelService } from '../../client/index.ts'
import { HttpOrigins } from '../../plugins/forward/http/origins.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { places } from '../plugins/forward/http/places.ts'
import { clientOf, startProxy } from './proxy.ts'

type Fetch = (url: string, init?: RequestInit) => Promise<Response>
type Init = RequestInit & { path?: string }

interface Scene {
  name: string
  /** What the service sends, or how it answers. */
  answer: string | Buffer | RequestListener
  init?: () => Init
  /** Another thing than the head and the text of the response. */
  look?: (response: Response) => Promise<unknown>
  /** docs/API.md: which difference is meant. Absent: there is none. */
  differs?: string
}

const hash = (text: string) => `sha256-${createHash('sha256').update(text).digest('base64')}`
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const head = (line: string, ...headers: string[]) => [line, ...headers, '', ''].join('\r\n')
const redirect = (status: number, location: string) =>
  ((incoming, outgoing) => {
    if (incoming.url !== '/') {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('end', () => outgoing.end(`${incoming.method} ${incoming.url} ${Buffer.concat(chunks)}`))
      return
    }
    incoming.resume()
    outgoing.writeHead(status, { location })
    outgoing.end()
  }) as RequestListener

/** What of the request a service sees, without what is different each time. */
const seen: RequestListener = (incoming, outgoing) => {
  const chunks: Buffer[] = []
  incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
  incoming.on('end', () => {
    const {
      'content-length': length,
      'content-type': type,
      'x-a': own,
      'transfer-encoding': coding,
    } = incoming.headers
    const body = Buffer.concat(chunks).toString()
    outgoing.end(
      JSON.stringify({
        method: incoming.method,
        url: incoming.url,
        length,
        type: type?.split(';')[0],
        own,
        coding,
        body: body.startsWith('--') ? 'form' : body,
      }),
    )
  })
}
const seenHeaders: RequestListener = (incoming, outgoing) => {
  const { host: _host, ...headers } = incoming.headers
  outgoing.end(JSON.stringify(headers))
}
const post =
  (body: unknown, more: object = {}) =>
  () =>
    ({ method: 'POST', body, ...more }) as Init
const form = (): FormData => {
  const made = new FormData()
  made.set('a', 'b')
  return made
}

const SCENES: Scene[] = [
  { name: 'a length', answer: OK },
  { name: 'chunks', answer: `${head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked')}2\r\nok\r\n0\r\n\r\n` },
  { name: 'the end of the connection', answer: `${head('HTTP/1.1 200 OK')}ok` },
  { name: 'HTTP/1.0', answer: `${head('HTTP/1.0 200 OK')}ok` },
  {
    name: 'Connection: close',
    answer: `${head('HTTP/1.1 200 OK', 'Connection: close', 'Content-Length: 2')}ok`,
  },
  { name: 'an empty body', answer: head('HTTP/1.1 200 OK', 'Content-Length: 0') },
  { name: '204', answer: head('HTTP/1.1 204 No Content') },
  { name: '205', answer: head('HTTP/1.1 205 Reset Content', 'Content-Length: 0') },
  { name: '304', answer: head('HTTP/1.1 304 Not Modified') },
  {
    name: '304 with a length',
    answer: head('HTTP/1.1 304 Not Modified', 'Content-Length: 1000'),
  },
  { name: '404 with a body', answer: `${head('HTTP/1.1 404 Not Found', 'Content-Length: 2')}no` },
  { name: '500', answer: head('HTTP/1.1 500 Oh', 'Content-Length: 0') },
  { name: 'a status above 599', answer: head('HTTP/1.1 799 Much', 'Content-Length: 0') },
  { name: 'no phrase', answer: head('HTTP/1.1 200', 'Content-Length: 0') },
  { name: 'a phrase of its own', answer: head('HTTP/1.1 200 Quite So', 'Content-Length: 0') },
  {
    name: 'a phrase in another script',
    answer: Buffer.from(head('HTTP/1.1 404 не найдено', 'Content-Length: 0')),
    differs: 'Phrase',
  },
  { name: '103 before the answer', answer: head('HTTP/1.1 103 Early Hints', 'Link: </a>') + OK },
  {
    name: '100 that nobody asked for',
    answer: head('HTTP/1.1 100 Continue') + OK,
    differs: 'Answers that Node refuses',
  },
  {
    name: 'cookies',
    answer: head('HTTP/1.1 200 OK', 'Set-Cookie: a=1', 'Set-Cookie: b=2', 'Content-Length: 0'),
    look: async ({ headers }) => headers.getSetCookie(),
  },
  {
    name: 'a header twice',
    answer: head('HTTP/1.1 200 OK', 'X-A: 1', 'x-a: 2', 'Content-Length: 0'),
    look: async ({ headers }) => headers.get('x-a'),
  },
  {
    name: 'a header in Latin-1',
    answer: Buffer.from(head('HTTP/1.1 200 OK', 'X-A: \xfc', 'Content-Length: 0'), 'latin1'),
    look: async ({ headers }) => headers.get('x-a'),
  },
  {
    name: 'a header of 30 KB',
    answer: head('HTTP/1.1 200 OK', `X-A: ${'x'.repeat(30_000)}`, 'Content-Length: 0'),
    look: async ({ headers }) => headers.get('x-a')?.length,
    differs: 'Large headers',
  },
  {
    name: 'hop-by-hop headers',
    answer: head(
      'HTTP/1.1 200 OK',
      'Connection: X-Mine',
      'X-Mine: 1',
      'Proxy-Authenticate: Basic',
      'Content-Length: 0',
    ),
    look: async ({ headers }) => [headers.get('x-mine'), headers.get('proxy-authenticate')],
    differs: 'Hop-by-hop headers',
  },
  {
    name: 'gzip',
    answer: (_incoming, outgoing) =>
      outgoing.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('text')),
    differs: 'Content codings',
  },
  { name: 'garbage', answer: 'garbage\r\n\r\n', differs: 'Errors' },
  {
    name: 'a body that is cut',
    answer: `${head('HTTP/1.1 200 OK', 'Content-Length: 9')}ok`,
    differs: 'Errors',
  },
  {
    name: '407',
    answer: `${head('HTTP/1.1 407 Proxy Authentication Required', 'Content-Length: 2')}no`,
    differs: 'Answers that Node refuses',
  },
  {
    name: 'HEAD',
    answer: (_incoming, outgoing) => outgoing.writeHead(200, { 'content-length': '12' }).end(),
    init: () => ({ method: 'HEAD' }),
    look: async (response) => [response.body, response.headers.get('content-length')],
  },
  { name: 'headers of our own', answer: seen, init: () => ({ headers: { 'X-A': '1' } }) },
  { name: 'the headers that fetch adds', answer: seenHeaders, differs: 'Added headers' },
  { name: 'a fragment', answer: seen, init: () => ({ path: '/a?b#c' }) },
  { name: 'a query', answer: seen, init: () => ({ path: '/ü?q=%20 ' }) },
  { name: 'DELETE', answer: seen, init: () => ({ method: 'DELETE' }) },
  { name: 'a method of its own', answer: seen, init: () => ({ method: 'PURGE' }) },
  { name: 'POST without a body', answer: seen, init: () => ({ method: 'POST' }) },
  { name: 'a string', answer: seen, init: post('text') },
  { name: 'an empty string', answer: seen, init: post('') },
  { name: 'parameters', answer: seen, init: post(new URLSearchParams({ a: '1 2' })) },
  { name: 'bytes', answer: seen, init: post(Buffer.from('bytes')) },
  { name: 'a Blob with its type', answer: seen, init: post(new Blob(['blob'], { type: 'text/x' })) },
  {
    name: 'a form',
    answer: seen,
    init: () => post(form())(),
    look: async (response) => ({ ...((await response.json()) as object), length: 0 }),
  },
  { name: 'a stream', answer: seen, init: () => post(new Blob(['stream']).stream(), { duplex: 'half' })() },
  { name: 'PUT', answer: seen, init: post('put', { method: 'PUT' }) },
  { name: '301 after GET', answer: redirect(301, '/there') },
  { name: '302 after POST', answer: redirect(302, '/there'), init: post('x') },
  { name: '303 after PUT', answer: redirect(303, '/there'), init: post('x', { method: 'PUT' }) },
  { name: '307 after POST', answer: redirect(307, '/there?a#b'), init: post('x') },
  { name: '308 with a Blob', answer: redirect(308, 'there'), init: post(new Blob(['x'])) },
  {
    name: '307 with a stream',
    answer: redirect(307, '/there'),
    init: () => post(new Blob(['x']).stream(), { duplex: 'half' })(),
    differs: 'Redirects that cannot be followed',
  },
  {
    name: 'a redirect that leaves the machine',
    answer: redirect(302, 'http://127.0.0.2:1/'),
    differs: 'Redirects that cannot be followed',
  },
  {
    name: 'a redirect that is not followed',
    answer: redirect(302, '/there'),
    init: () => ({ redirect: 'manual' }),
  },
  {
    name: 'a redirect that is an error',
    answer: redirect(302, '/there'),
    init: () => ({ redirect: 'error' }),
    differs: 'Errors',
  },
  {
    name: 'a loop',
    answer: (_incoming, outgoing) => outgoing.writeHead(302, { location: '/' }).end(),
    differs: 'Errors',
  },
  { name: 'an abort before', answer: OK, init: () => ({ signal: AbortSignal.abort() }) },
  {
    name: 'an abort with a reason',
    answer: OK,
    init: () => ({ signal: AbortSignal.abort(new RangeError('mine')) }),
  },
  { name: 'integrity that is right', answer: OK, init: () => ({ integrity: hash('ok') }) },
  {
    name: 'integrity that is wrong',
    answer: OK,
    init: () => ({ integrity: hash('other') }),
    differs: 'Errors',
  },
  { name: 'a body that is not allowed', answer: OK, init: () => ({ method: 'GET', body: 'x' }) },
  { name: 'a method that is not allowed', answer: OK, init: () => ({ method: 'TRACE' }) },
]

async function serve(t: TestContext, answer: Scene['answer']): Promise<number> {
  const sockets = new Set<Socket>()
  const server =
    typeof answer === 'function'
      ? createServer(answer)
      : createTcpServer((socket) => {
          socket.on('error', () => {})
          socket.once('data', () => socket.end(answer))
        })
  server.on('connection', (socket: Socket) => sockets.add(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** Connection's own headers, and the time. */
const PASSING = new Set(['connection', 'keep-alive', 'date', 'transfer-encoding'])

async function watch(fetch: Fetch, base: string, { init, look }: Scene): Promise<unknown> {
  const { path = '/', ...rest } = init?.() ?? {}
  try {
    const response = await fetch(`${base}${path}`, rest)
    if (look !== undefined) return await look(response)
    const { status, statusText, ok, redirected, url } = response
    const headers = [...response.headers].filter(([name]) => !PASSING.has(name))
    return {
      status,
      statusText,
      ok,
      redirected,
      url: url.slice(base.length),
      headers,
      text: await response.text(),
    }
  } catch (error) {
    return `${(error as Error).name}: ${error instanceof RangeError ? error.message : ''}`
  }
}

/** The real client and link, and the proxy's own HTTP, over sockets in place of SSH channels. */
async function tunnelOf(t: TestContext): Promise<TunnelService> {
  const origins = new HttpOrigins(() => 0)
  const { context } = places(t)
  const proxy = await startProxy(t, {
    onStream: (stream) => void origins.serve(stream, context(stream.head.target ?? '')),
  })
  t.after(() => origins.close(new TunnelError('SHUTTING_DOWN', 'the test is over', { hop: 'client' })))
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  return tunnel
}

test('fetch through the tunnel is as fetch itself, but for the differences that docs/API.md lists', async (t) => {
  const tunnel = await tunnelOf(t)
  const wrong: object[] = []
  const through: Fetch = (url, init) => tunnel.fetch(url, init as never)
  for (const scene of SCENES) {
    const port = await serve(t, scene.answer)
    const direct = await watch(fetch, `http://127.0.0.1:${port}`, scene)
    const tunnelled = await watch(through, `http://home:${port}`, scene)
    const same = isDeepStrictEqual(direct, tunnelled)
    if (same !== (scene.differs === undefined))
      wrong.push({ scene: scene.name, differs: scene.differs ?? 'not at all', direct, tunnelled })
  }
  assert.deepEqual(wrong, [])
})

test('docs/API.md lists each difference that was found, and no other in its table', async () => {
  const text = await readFile(new URL('../../docs/API.md', import.meta.url), 'utf8')
  const rows = [...text.matchAll(/^\| \*\*(.+?)\*\* \|/gm)].map(([, name]) => name)
  const found = SCENES.flatMap(({ differs }) => differs ?? [])
  assert.deepEqual(new Set(rows), new Set(found))
})
