import { head, type Init, post, redirect, type Scene, seen } from './fetch-scenes.ts'

/** Scenes that differ in one thing: a status, a method, a body, a framing, a byte. */

const STATUSES = [
  201, 202, 203, 206, 226, 300, 305, 306, 400, 401, 403, 405, 409, 410, 412, 413, 415, 416, 417, 418, 421,
  422, 425, 426, 428, 429, 431, 451, 501, 502, 503, 504, 505, 511, 599,
]

const statuses = STATUSES.map((status): Scene => {
  return { name: `status ${status}`, answer: `${head(`HTTP/1.1 ${status} Word`, 'Content-Length: 4')}body` }
})

const redirects = [301, 302, 303, 307, 308].flatMap((status) =>
  ['GET', 'HEAD', 'PUT', 'DELETE', 'POST', 'PATCH'].map((method): Scene => {
    const body = ['PUT', 'POST', 'PATCH'].includes(method) ? { body: 'x' } : {}
    return {
      name: `${status} after ${method}`,
      answer: redirect(status, '/there?b=c'),
      init: () => ({ method, ...body, headers: { 'content-language': 'de' } }),
    }
  }),
)

/** Which of them differ, and by which row of docs/API.md. */
const DIFFERENT: Record<string, string> = {
  'a redirect to an empty value': 'Errors',
  'a redirect to no URL': 'Redirects that cannot be followed',
  'a length with white space': 'White space',
  'white space around a value': 'White space',
}

const LOCATIONS: Record<string, string> = {
  'a query alone': '?q',
  'a fragment of its own': '/there#part',
  'dots in the path': '/a/../there',
  'spaces and umlauts': '/the re',
  'an empty value': '',
  'no URL': 'http://[',
}
const locations = Object.entries(LOCATIONS).map(([name, location]): Scene => {
  return { name: `a redirect to ${name}`, answer: redirect(302, location), init: () => ({ path: '/#mine' }) }
})
const manual = [301, 303, 307].map((status): Scene => {
  const init = (): Init => ({ redirect: 'manual', method: 'POST', body: 'x' })
  return { name: `${status} that is not followed`, answer: redirect(status, '/there'), init }
})

const chunked = head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked')
const FRAMINGS: Record<string, string> = {
  'many chunks': `${chunked}1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n`,
  'a chunk with an extension': `${chunked}2;name=value\r\nok\r\n0\r\n\r\n`,
  'a length in capitals': `${chunked}A\r\n0123456789\r\n0\r\n\r\n`,
  'leading zeros in a chunk': `${chunked}002\r\nok\r\n0\r\n\r\n`,
  trailers: `${chunked}2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n`,
  'no chunk at all': `${chunked}0\r\n\r\n`,
  'a length with white space': `${head('HTTP/1.1 200 OK', 'Content-Length:   2  ')}ok`,
  'HTTP/1.0 with a length': `${head('HTTP/1.0 200 OK', 'Content-Length: 2')}ok`,
  'HTTP/1.0 that is kept': `${head('HTTP/1.0 200 OK', 'Connection: keep-alive', 'Content-Length: 2')}ok`,
  'nothing before the end': head('HTTP/1.1 200 OK', 'Connection: close'),
  'a body of zero bytes': `${head('HTTP/1.1 200 OK', 'Content-Length: 3')}\0\0\0`,
}
const framings = Object.entries(FRAMINGS).map(([name, answer]): Scene => ({ name, answer }))

const HEADERS: Record<string, string> = {
  'an empty header': 'X-A:',
  'white space around a value': 'X-A: \t b \t',
  'a value with a comma': 'X-A: a, b',
  'a value with quotes': 'X-A: "a\\"b"',
  'a name in capitals': 'X-MIXED-Case: 1',
  'a name with odd characters': "X!#$%&'*+.^_`|~1: 1",
  'a tab inside a value': 'X-A: a\tb',
  'a date': 'Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT',
  'a content type with a charset': 'Content-Type: text/plain; charset=iso-8859-1',
}
const headers = Object.entries(HEADERS).map(([name, line]): Scene => {
  return { name, answer: `${head('HTTP/1.1 200 OK', line, 'Content-Length: 2')}ok` }
})

const BODIES: Record<string, () => unknown> = {
  'words of 16 bits': () => new Uint16Array([0x4142, 0x4344]),
  'a view of a part': () => new Uint8Array(Buffer.from('abcdef').buffer.slice(0, 6)).subarray(1, 3),
  'a DataView': () => new DataView(new TextEncoder().encode('view').buffer),
  'an ArrayBuffer': () => new TextEncoder().encode('buffer').buffer,
  'a Blob without a type': () => new Blob(['blob']),
  'a Blob of nothing': () => new Blob([]),
  'parameters of nothing': () => new URLSearchParams(),
  'parameters in another script': () => new URLSearchParams({ ü: '\u4e16' }),
  'half of a pair of surrogates': () => 'a\ud800b',
  'an object, as a string': () => ({ a: 1 }),
  'a number, as a string': () => 7,
  'a large string': () => 'x'.repeat(200_000),
}
const bodies = Object.entries(BODIES).map(([name, make]): Scene => {
  return { name: `a body: ${name}`, answer: seen, init: () => post(make())() }
})
const methods = ['PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY', 'patch', 'put', 'M-SEARCH'].map(
  (method): Scene => {
    return { name: `${method} with a body`, answer: seen, init: () => ({ method, body: 'x' }) }
  },
)

const PATHS = [
  '/a//b',
  '/a%2fb',
  '/%zz',
  '/a?b?c',
  '/a;b=c',
  "/a'b",
  '/{a}|b',
  '/\u4e16',
  '/?%20+',
  '/./a/./b/..',
]
const paths = PATHS.map((path): Scene => ({ name: `the path ${path}`, answer: seen, init: () => ({ path }) }))

const all: readonly Scene[] = [
  ...statuses,
  ...redirects,
  ...locations,
  ...manual,
  ...framings,
  ...headers,
  ...bodies,
  ...methods,
  ...paths,
]

export const FAMILIES: readonly Scene[] = all.map((scene) => {
  const differs = DIFFERENT[scene.name]
  return differs === undefined ? scene : { ...scene, differs }
})
