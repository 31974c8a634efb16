import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { declaredLength, requestText } from '../../../../plugins/forward/http/request-head.ts'
import type { TunnelError } from '../../../../protocol/codec/errors.ts'
import type { HeaderList, HttpRequestHead } from '../../../../protocol/codec/heads.ts'
import { Random } from '../../../support/seeded-random.ts'
import { type Opened, type Rig, startRig, tcpService } from '../rig.ts'

function request(rig: Rig, target: string, path: string, method = 'GET', headers: HeaderList = []): Opened {
  return rig.open({ kind: 'http', target, http: { method, path, headers } }, undefined, true)
}

async function outcome(opened: Opened): Promise<string> {
  return opened.closed.then(
    () => opened.text,
    (error: TunnelError) => error.code,
  )
}

/** A service that answers each request, by its path, on connections that it keeps. */
function scripted(answer: (path: string, socket: Socket, isFirst: boolean) => void) {
  return (socket: Socket): void => {
    let text = ''
    let requests = 0
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const path = text.split(' ')[1] ?? ''
        text = text.slice(end + 4)
        answer(path, socket, requests++ === 0)
      }
    })
  }
}

const GOOD = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood'
const RECORDED = [
  'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello there',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n',
]

for (const [how, end] of [
  ['ends', (socket: Socket) => socket.end()],
  ['is reset', (socket: Socket) => socket.resetAndDestroy()],
] as const) {
  test(`a connection that ${how} at any byte of an answer costs that request alone`, async (t) => {
    const rig = await startRig(t)
    const target = await tcpService(
      t,
      scripted((path, socket) => {
        if (path === '/good') return void socket.write(GOOD)
        const [, which, length] = path.split('/')
        const text = (RECORDED[Number(which)] as string).slice(0, Number(length))
        socket.write(text, () => end(socket))
      }),
    )
    for (const [which, text] of RECORDED.entries()) {
      const lengths = Array.from({ length: text.length + 1 }, (_, length) => length)
      while (lengths.length > 0) {
        await Promise.all(
          lengths.splice(0, 10).map(async (length) => {
            const [cut, good] = [request(rig, target, `/${which}/${length}`), request(rig, target, '/good')]
            assert.equal(await outcome(good), 'good', `beside ${length} of ${text.length} bytes`)
            const came = await outcome(cut)
            // A reset may overtake what was sent before it.
            if (length === text.length && how === 'ends') assert.equal(came, 'hello there')
            else if (length < text.length) assert.equal(came, 'CONNECT_REFUSED')
          }),
        )
      }
    }
    await rig.settled()
  })
}

test('seeded garbage, and garbage behind an answer, never touches the requests beside it', async (t) => {
  const rig = await startRig(t)
  const random = new Random(20_260_301)
  const target = await tcpService(
    t,
    scripted((path, socket) => {
      if (path === '/good') return void socket.write(GOOD)
      if (path === '/behind') {
        socket.write(`${GOOD}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad`)
      } else if (path === '/later') {
        // In another packet, when the next request may have been sent already.
        socket.write(GOOD, () => setImmediate(() => socket.write('\0\0\0 not HTTP \r\n\r\n')))
      } else if (path === '/half') {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')
        socket.end()
      } else {
        const noise = Buffer.from(random.bytes(1 + random.below(200)))
        socket.write(random.chance(0.5) ? Buffer.concat([Buffer.from('HTTP/1.1 2'), noise]) : noise)
        socket.end()
      }
    }),
  )
  const paths = ['/good', '/good', '/good', '/behind', '/later', '/half', '/noise']
  for (let round = 0; round < 30; round++) {
    const all = Array.from({ length: 12 }, () => {
      const path = random.pick(paths)
      return { path, opened: request(rig, target, path) }
    })
    for (const { path, opened } of all) {
      const came = await outcome(opened)
      assert.equal(came, path === '/half' || path === '/noise' ? 'CONNECT_REFUSED' : 'good', path)
    }
  }
  await rig.settled()
})

test('a kept connection that closes as the next request comes: what is idempotent goes again, once', async (t) => {
  const rig = await startRig(t)
  const seen: string[] = []
  const target = await tcpService(
    t,
    scripted((path, socket, isFirst) => {
      seen.push(path)
      // The second request on each connection finds it closed.
      if (isFirst) socket.write(GOOD)
      else socket.destroy()
    }),
  )
  for (let index = 0; index < 20; index++)
    assert.equal(await outcome(request(rig, target, `/${index}`)), 'good')
  // Each but the first met a connection that closed, and was sent on another.
  assert.ok(seen.length > 20 && seen.length < 40, `${seen.length} requests`)

  const post = () => outcome(request(rig, target, '/post', 'POST'))
  assert.equal(await outcome(request(rig, target, '/last')), 'good')
  const came = [await post(), await post()]
  // One of them came on a connection that had carried a request: nobody knows whether it was executed.
  assert.deepEqual(came.sort(), ['OUTCOME_UNKNOWN', 'good'])
})

test('a service that closes after each answer without saying so answers 60 requests in a row', async (t) => {
  const rig = await startRig(t)
  const target = await tcpService(
    t,
    scripted((_path, socket) => socket.write(GOOD, () => setImmediate(() => socket.end()))),
  )
  for (let index = 0; index < 60; index++) assert.equal(await outcome(request(rig, target, '/')), 'good')
})

test('a service that never answers anything is asked once for each request', async (t) => {
  const rig = await startRig(t)
  let asked = 0
  const target = await tcpService(
    t,
    scripted((_path, socket) => {
      asked++
      socket.destroy()
    }),
  )
  assert.equal(await outcome(request(rig, target, '/')), 'CONNECT_REFUSED')
  assert.equal(await outcome(request(rig, target, '/', 'POST')), 'OUTCOME_UNKNOWN')
  assert.equal(asked, 2)
})

test('304 with a length, a phrase in another script, and 100 Continue unasked are answers', async (t) => {
  const rig = await startRig(t)
  const answers: Record<string, string | Buffer> = {
    '/304': 'HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n',
    '/phrase': Buffer.from('HTTP/1.1 404 не найдено\r\nContent-Length: 0\r\n\r\n'),
    '/continue': `HTTP/1.1 100 Continue\r\n\r\n${GOOD}`,
  }
  const target = await tcpService(
    t,
    scripted((path, socket) => void socket.write(answers[path] as string)),
  )
  const heads = []
  for (const path of Object.keys(answers)) {
    const opened = request(rig, target, path)
    heads.push(await opened.head())
    await opened.closed
  }
  assert.deepEqual(
    heads.map(({ status }) => status),
    [304, 404, 200],
  )
  assert.equal(Buffer.from(heads[1]?.statusText ?? '', 'latin1').toString(), 'не найдено')
})

for (const [asked, sent, host] of [
  ['/a?b=c#part', '/a?b=c', undefined],
  ['http://example.org:81/a?b', '/a?b', 'example.org:81'],
  ['http://example.org?b', '/?b', 'example.org'],
  ['http://example.org', '/', 'example.org'],
] as const) {
  test(`the path ${asked} is asked for as ${sent}`, async (t) => {
    const rig = await startRig(t)
    let text = ''
    const target = await tcpService(t, (socket) => {
      socket.on('data', (bytes) => {
        text += bytes.toString('latin1')
        socket.write(GOOD)
      })
    })
    assert.equal(await outcome(request(rig, target, asked)), 'good')
    assert.equal(text.split('\r\n')[0], `GET ${sent} HTTP/1.1`)
    assert.match(text, new RegExp(`\r\nHost: ${host ?? target}\r\n`))
  })
}

test('the same request is the same bytes, whenever its body comes', async (t) => {
  const rig = await startRig(t)
  const texts: string[] = []
  const target = await tcpService(t, (socket) => {
    let text = ''
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      const complete = /Content-Length: 6\r\n\r\n.{6}$/s.test(text) || text.endsWith('0\r\n\r\n')
      if (!complete) return
      texts.push(text)
      text = ''
      socket.write(GOOD)
    })
  })
  const body = Buffer.from('6bytes')
  for (const headers of [[], [['Content-Length', '6']]] as HeaderList[]) {
    texts.length = 0
    for (let turn = 0; turn < 8; turn++) {
      const opened = rig.open({ kind: 'http', target, http: { method: 'PUT', path: '/', headers } })
      for (let round = 0; round < turn * turn; round++) await new Promise(setImmediate)
      opened.stream.write(body.slice())
      opened.stream.end()
      assert.equal(await outcome(opened), 'good')
    }
    assert.equal(new Set(texts).size, 1, JSON.stringify([...new Set(texts)]))
    assert.equal(texts[0]?.includes('Transfer-Encoding'), headers.length === 0)
  }
})

test('no method, path or header of a request says more than one line to a service, in whatever characters', () => {
  // In Latin-1 the last two of these are a line's end too.
  const breaks = ['\r\n', '\n', '\r', '\u010d\u010a', '\u0a0a', '\0', '\u2028']
  const smuggled = (end: string) => `x${end}Transfer-Encoding: chunked`
  for (const end of breaks) {
    const text = smuggled(end)
    const heads: HttpRequestHead[] = [
      { method: text, path: '/', headers: [] },
      { method: 'GET', path: `/${text}`, headers: [] },
      { method: 'GET', path: `http://${text}/`, headers: [] },
      { method: 'GET', path: `http://host/${text}`, headers: [] },
      { method: 'GET', path: '/', headers: [['X', text]] },
      { method: 'GET', path: '/', headers: [[text, 'x']] },
      { method: 'GET', path: '/', headers: [['Host', text]] },
    ]
    for (const head of heads)
      assert.throws(
        () => requestText(head, {}, '127.0.0.1:80', 'none'),
        { code: 'FRAME_INVALID' },
        JSON.stringify(head),
      )
    assert.throws(
      () => requestText({ method: 'GET', path: '/', headers: [] }, { X: text }, '127.0.0.1:80', 'none'),
      { code: 'FRAME_INVALID' },
    )
  }
  // Two ways to say how long it is: ours is the only one that goes out.
  const headers: HttpRequestHead['headers'] = [
    ['Transfer-Encoding', 'chunked'],
    ['Content-Length', '3'],
    ['content-length', '3'],
    ['Connection', 'X-Gone'],
    ['X-Gone', '1'],
  ]
  const sent = requestText({ method: 'POST', path: 'http://other:81', headers }, {}, '127.0.0.1:80', 3)
  assert.equal(
    sent,
    'POST / HTTP/1.1\r\nHost: other:81\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n',
  )
  for (const lengths of [['3', '4'], ['+3'], ['3, 3'], ['0x3'], ['']])
    assert.throws(() => declaredLength(lengths.map((length) => ['Content-Length', length])), {
      code: 'FRAME_INVALID',
    })
})
