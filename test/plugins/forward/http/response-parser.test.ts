import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ResponseError } from '../../../../plugins/forward/http/response-head.ts'
import { ResponseParser } from '../../../../plugins/forward/http/response-parser.ts'
import type { HttpResponseHead } from '../../../../protocol/codec/heads.ts'

interface Parsed {
  head: HttpResponseHead | undefined
  body: string
  ended: boolean
  persistent: boolean
  error: string | undefined
}

/** Parses what a service sends, in pieces of `step` bytes, and then its end. */
function parse(text: string, { method = 'GET', step = Number.POSITIVE_INFINITY, close = true } = {}): Parsed {
  const bytes = Buffer.from(text, 'latin1')
  const parser = new ResponseParser()
  const seen: Parsed = { head: undefined, body: '', ended: false, persistent: false, error: undefined }
  parser.expect(method, {
    head: (head) => {
      assert.equal(seen.head, undefined, 'a second head')
      seen.head = head
    },
    data: (chunk) => {
      assert.ok(seen.head !== undefined && !seen.ended)
      seen.body += chunk.toString('latin1')
    },
    end: () => {
      assert.ok(!seen.ended)
      seen.ended = true
    },
  })
  try {
    for (let at = 0; at < bytes.length; at += step) parser.push(bytes.subarray(at, at + step))
    if (close) parser.finish()
  } catch (error) {
    assert.ok(error instanceof ResponseError, String(error))
    seen.error = error.message
  }
  return { ...seen, persistent: parser.persistent }
}

const COMPLETE: [
  string,
  { text: string; method?: string; status: number; body?: string; persistent: boolean },
][] = [
  [
    'a length',
    {
      text: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
      status: 200,
      body: 'hello',
      persistent: true,
    },
  ],
  [
    'a length said twice alike',
    {
      text: 'HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\nhello',
      status: 200,
      body: 'hello',
      persistent: true,
    },
  ],
  [
    'chunks with extensions and trailers',
    {
      text: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a="b"\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n',
      status: 200,
      body: 'hello',
      persistent: true,
    },
  ],
  [
    'chunks and a length, of which the chunks count',
    {
      text: 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
      status: 200,
      body: 'hello',
      persistent: false,
    },
  ],
  [
    'the end of the connection',
    { text: 'HTTP/1.1 200 OK\r\n\r\nhello', status: 200, body: 'hello', persistent: false },
  ],
  [
    'HTTP/1.0',
    {
      text: 'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello',
      status: 200,
      body: 'hello',
      persistent: false,
    },
  ],
  [
    'HTTP/1.0 with keep-alive',
    {
      text: 'HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello',
      status: 200,
      body: 'hello',
      persistent: true,
    },
  ],
  [
    'Connection: close',
    {
      text: 'HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\nhello',
      status: 200,
      body: 'hello',
      persistent: false,
    },
  ],
  [
    '304 with the length of what is not sent',
    { text: 'HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n', status: 304, persistent: true },
  ],
  [
    '204 with a length',
    { text: 'HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n', status: 204, persistent: true },
  ],
  [
    'HEAD with a length',
    { text: 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n', method: 'HEAD', status: 200, persistent: true },
  ],
  [
    'HEAD that says chunked',
    {
      text: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      method: 'HEAD',
      status: 200,
      persistent: true,
    },
  ],
  [
    '100 Continue and 103 that nobody asked for',
    {
      text: 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
      status: 200,
      body: 'hello',
      persistent: true,
    },
  ],
  [
    'lines that end in LF alone',
    { text: 'HTTP/1.1 200 OK\nContent-Length: 5\n\nhello', status: 200, body: 'hello', persistent: true },
  ],
  [
    'empty lines before it',
    {
      text: '\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
      status: 200,
      body: 'hello',
      persistent: true,
    },
  ],
  [
    'no phrase, and no space for one',
    { text: 'HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n', status: 404, persistent: true },
  ],
  [
    'a status that nobody has defined',
    { text: 'HTTP/1.1 799 Whatever\r\nContent-Length: 0\r\n\r\n', status: 799, persistent: true },
  ],
]

for (const [what, { text, method = 'GET', status, body = '', persistent }] of COMPLETE) {
  test(`a response is the same in whatever pieces it comes: ${what}`, () => {
    for (const step of [Number.POSITIVE_INFINITY, 1, 2, 3, 7, 50]) {
      const seen = parse(text, { method, step })
      assert.equal(seen.error, undefined)
      assert.deepEqual(
        [seen.head?.status, seen.body, seen.ended, seen.persistent],
        [status, body, true, persistent],
      )
    }
  })

  test(`a response that is cut at any byte is never taken for complete: ${what}`, () => {
    for (let length = 0; length < text.length; length++) {
      const seen = parse(text.slice(0, length), { method })
      if (text.includes('the end') || (seen.head !== undefined && /^HTTP\/1.1 200 OK\r\n\r\n/.test(text)))
        continue
      assert.ok(!seen.ended && seen.error !== undefined, `${length} of ${text.length} bytes`)
    }
  })
}

const WRONG: [string, string, RegExp][] = [
  ['another protocol', '220 mail.example.org ESMTP\r\n\r\n', /does not answer in HTTP\/1\.1/],
  ['HTTP/2', 'HTTP/2 200 OK\r\n\r\n', /does not answer in HTTP\/1\.1/],
  ['status 099', 'HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n', /099 is not a valid status/],
  ['status 1000', 'HTTP/1.1 1000 High\r\n\r\n', /does not answer/],
  ['101', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n', /switched to another protocol/],
  [
    'two lengths',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!',
    /is not a length/,
  ],
  ['a length that is no number', 'HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello', /is not a length/],
  [
    'a coding that nobody asked for',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
    /coding gzip, chunked/,
  ],
  [
    'a chunk without a size',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n',
    /chunk whose size/,
  ],
  [
    'a chunk that is too long',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n',
    /not as long as it says/,
  ],
  [
    'a chunk line without end',
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(5_000)}`,
    /chunk whose size/,
  ],
  ['a line without a name', 'HTTP/1.1 200 OK\r\nno header\r\n\r\n', /is not a header/],
  ['a fold before the first header', 'HTTP/1.1 200 OK\r\n X: 1\r\n\r\n', /first header has no name/],
  ['NUL in a header', 'HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n', /characters that no header has/],
  ['CR in a header', 'HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n', /characters that no header has/],
  ['a head without end', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}`, /more than 65536 bytes/],
  [
    'trailers without end',
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ${'x'.repeat(70_000)}`,
    /more than 65536 bytes/,
  ],
  [
    'bytes behind the response',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!',
    /more than its response/,
  ],
  [
    'a body behind 304',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello',
    /more than its response/,
  ],
]

for (const [what, text, message] of WRONG) {
  test(`what is not a response is told as what it is: ${what}`, () => {
    for (const step of [Number.POSITIVE_INFINITY, 1, 5]) {
      const seen = parse(text, { step })
      assert.match(seen.error ?? '', message)
      if (seen.ended) assert.equal(seen.persistent, false)
    }
  })
}

test('headers keep their case, order and bytes, and folded lines are joined', () => {
  const { head } = parse(
    'HTTP/1.1 200 \xd0\xbd\xd0\xb5\r\nX-B:  \xa0a\t\r\nx-b: b\r\nY: 1\r\n\t2\r\nContent-Length: 0\r\n\r\n',
  )
  assert.deepEqual(head?.headers, [
    ['X-B', '\xa0a'],
    ['x-b', 'b'],
    ['Y', '1 2'],
    ['Content-Length', '0'],
  ])
  assert.equal(head?.statusText, '\xd0\xbd\xd0\xb5')
})

test('a phrase with control characters is left out, and the response is not', () => {
  const { head } = parse('HTTP/1.1 200 a\x01b\r\nContent-Length: 0\r\n\r\n')
  assert.deepEqual([head?.status, head?.statusText], [200, ''])
})
