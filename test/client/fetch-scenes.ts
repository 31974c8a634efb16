import { createHash } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { gzipSync } from 'node:zlib'

export type Init = RequestInit & { path?: string }

export interface Scene {
  name: string
  /** What the service sends, or how it answers. */
  answer: string | Buffer | RequestListener
  init?: () => Init
  /** Another thing than the head and the text of the response. */
  look?: (response: Response) => Promise<unknown>
  /** docs/API.md: which difference is meant. Absent: there is none. */
  differs?: string
}

/** What a caller sees of a response from `base`, but for the headers in `passing`. */
export async function outcomeOf(
  response: Response,
  base: string,
  passing: ReadonlySet<string>,
): Promise<object> {
  const { status, statusText, ok, redirected, url } = response
  const headers = [...response.headers].filter(([name]) => !passing.has(name))
  return {
    status,
    statusText,
    ok,
    redirected,
    url: url.slice(base.length),
    headers,
    text: await response.text(),
  }
}

const hash = (text: string) => `sha256-${createHash('sha256').update(text).digest('base64')}`
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
export const head = (line: string, ...headers: string[]) => [line, ...headers, '', ''].join('\r\n')
export const redirect = (status: number, location: string) =>
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
export const seen: RequestListener = (incoming, outgoing) => {
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
export const post =
  (body: unknown, more: object = {}) =>
  () =>
    ({ method: 'POST', body, ...more }) as Init
const form = (): FormData => {
  const made = new FormData()
  made.set('a', 'b')
  return made
}

export const SCENES: Scene[] = [
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
  { name: 'a header that is none', answer: OK, init: () => ({ headers: { 'no name': 'x' } }) },
  {
    name: 'a body that is being read',
    answer: OK,
    init: () => {
      const body = new Blob(['x']).stream()
      body.getReader()
      return post(body, { duplex: 'half' })()
    },
  },
]
