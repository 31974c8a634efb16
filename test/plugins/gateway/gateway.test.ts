import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import type { User } from '../../../plugins/auth/index.ts'
import { GatewaySessions, MAX_SESSIONS } from '../../../plugins/gateway/sessions.ts'
import { MemoryRecords } from '../../../plugins/state/memory-records.ts'
import { heldBufferBytes } from '../../support/garbage.ts'
import { listenTcp, startProxy, until } from '../../support/proxy.ts'
import { startService } from '../../support/service.ts'
import { requireSystem } from '../../support/sshd.ts'
import { runHostile } from './hostile.ts'
import { headOf, RawCaller, startScene } from './scene.ts'

const skip = requireSystem('sshd')
const MIB = 1_048_576

/** Says what it was asked. */
const echo = (
  incoming: NodeJS.ReadableStream & { rawHeaders: string[]; url?: string },
  outgoing: { end(text: string): void },
) => outgoing.end(JSON.stringify([incoming.url, ...incoming.rawHeaders]))

test('an HTTP client without a link reaches a service on the machine', { skip }, async (t) => {
  const scene = await startScene(t)
  const { proxy, token } = scene
  const call = (port: number, path: string, init: RequestInit = {}) =>
    fetch(`${proxy.url}${scene.base(port)}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${token}`, ...(init.headers as Record<string, string>) },
    })
  const raw = (t: { after(f: () => void): void }) => new RawCaller(t as never, proxy.port)
  const idle = async () => {
    await until(() => proxy.app.pool.states().busy === 0)
    await until(() => proxy.app.forward.overview.held().passages === 0)
  }

  await t.test('what a service is told of the caller is what the proxy knows', async (t) => {
    const port = await startService(t, echo as never)
    const more =
      'X-Target-Authorization: Basic abc\r\nCookie: a=1; __Host-tunnel-session=secret; b=2\r\nX-Forwarded-For: 6.6.6.6\r\n' +
      'X_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nTE: gzip\r\nProxy-Authorization: Basic x\r\n' +
      'Connection: close, X-Mine, X-Forwarded-For, Via\r\nX-Mine: 1\r\nVia: 1.0 other\r\n'
    const text = await raw(t)
      .send(headOf(scene, 'GET', port, '/a/%2e%2e//b?c=%zz&d={}', more))
      .over()
    const [path, ...fields] = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)) as string[]
    assert.equal(path, '/a/%2e%2e//b?c=%zz&d={}')
    const prefix = scene.base(port)
    assert.deepEqual(fields, [
      ...['Host', `127.0.0.1:${port}`, 'Connection', 'keep-alive'],
      ...['Authorization', 'Basic abc', 'Cookie', 'a=1; b=2', 'Via', '1.1 ssh-websocket-tunnel'],
      ...['Forwarded', 'for=127.0.0.1;host="gateway.test";proto=http', 'X-Forwarded-For', '127.0.0.1'],
      ...['X-Forwarded-Host', 'gateway.test', 'X-Forwarded-Proto', 'http', 'X-Forwarded-Prefix', prefix],
    ])
    assert.ok(!text.includes(token))
  })

  await t.test('OPTIONS and TRACE come as far as Max-Forwards lets them', async (t) => {
    const port = await startService(t, echo as never)
    const ask = (method: string, left: string) =>
      raw(t)
        .send(
          headOf(scene, method, port, '/a', `Connection: close\r\nCookie: a=1\r\nMax-Forwards: ${left}\r\n`),
        )
        .over()
    assert.match(await ask('OPTIONS', '5'), /^HTTP\/1\.1 200 .*"Max-Forwards","4"/s)
    assert.match(await ask('OPTIONS', '9'.repeat(400)), /"Max-Forwards","999999"/)
    assert.match(await ask('GET', '0'), /^HTTP\/1\.1 200 .*"Max-Forwards","0"/s)
    assert.match(await ask('OPTIONS', '0'), /^HTTP\/1\.1 204 /)
    const traced = await ask('TRACE', '0')
    assert.match(
      traced,
      /^HTTP\/1\.1 200 .*content-type: message\/http\r\n.*\r\n\r\nTRACE \/.*\/a HTTP\/1\.1\r\n/s,
    )
    assert.match(traced, /\r\nMax-Forwards: 0\r\n/)
    assert.ok(!traced.includes(token) && !/cookie/i.test(traced))
  })

  await t.test('what two parties could read differently reaches no service', async (t) => {
    const seen: string[] = []
    const port = await listenTcp(t, (socket) => socket.on('data', (bytes) => seen.push(String(bytes))))
    const evil = headOf(scene, 'GET', Number(port.split(':')[1]), '/evil')
    const bodies: Record<string, [headers: string, body: string]> = {
      'a length beside chunks': ['Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${evil}`],
      'two lengths': ['Content-Length: 5\r\nContent-Length: 6\r\n', 'hellox'],
      'a list of lengths': ['Content-Length: 5, 5\r\n', 'hello'],
      'a length with a sign': ['Content-Length: +5\r\n', 'hello'],
      'identity behind chunked': ['Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'],
      identity: ['Transfer-Encoding: identity\r\n', evil],
      'another coding': ['Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'],
      'chunked twice': ['Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'],
      'a coding behind a control character': ['Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'],
      'a space before the colon': ['Transfer-Encoding : chunked\r\n', '0\r\n\r\n'],
      'a bare line feed': ['X-A: b\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'],
      'a bare carriage return': ['X-A: b\rContent-Length: 5\r\n', 'hello'],
      NUL: ['X-A: b\0c\r\n', ''],
      'a folded line': ['X-A: b\r\n Content-Length: 5\r\n', 'hello'],
      'an upgrade whose length stands behind what Node looks at': [
        `Connection: upgrade\r\nUpgrade: x\r\n${'a:\r\n'.repeat(2_050)}Content-Length: 5\r\n`,
        'hello',
      ],
      'two hosts': ['Host: evil\r\n', ''],
      'two tokens': ['Authorization: Bearer a.b.c\r\n', ''],
      'an upgrade with a body': ['Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n', 'hello'],
    }
    for (const [what, [headers, body]] of Object.entries(bodies)) {
      for (const method of ['POST', 'GET']) {
        const target = Number(port.split(':')[1])
        const caller = raw(t).send(headOf(scene, method, target, '/a', headers) + body)
        const text = await caller.until(/"hop":"proxy"\}/)
        assert.match(text, /^HTTP\/1.1 400 .*x-tunnel-error: REQUEST_INVALID/s, `${what}: ${text}`)
        caller.socket.destroy()
      }
    }
    const old = headOf(scene, 'POST', Number(port.split(':')[1]), '/', 'Transfer-Encoding: chunked\r\n')
    assert.match(await raw(t).send(old.replace('HTTP/1.1', 'HTTP/1.0')).over(), /^HTTP\/1.1 400 /)
    const plain = headOf(scene, 'GET', Number(port.split(':')[1]), '/')
    for (const head of [plain.replace('HTTP/1.1', 'HTTP/2.0'), plain.replace(/^host: .*\r\n/im, '')]) {
      const text = await raw(t)
        .send(head)
        .until(/"hop":"proxy"\}/)
      assert.match(text, /^HTTP\/1.1 400 .*x-tunnel-error: REQUEST_INVALID/s, text)
    }
    assert.deepEqual(seen, [])
  })

  await t.test('a header counts, however many stand before it', async (t) => {
    let seen = ''
    const address = await listenTcp(t, (socket) => {
      socket.on('data', (bytes) => {
        seen += String(bytes)
        if (seen.endsWith('hello') || /content-length: 0/i.test(seen))
          socket.end('HTTP/1.1 204 No Content\r\n\r\n')
      })
    })
    const fillers = 'a:\r\n'.repeat(2_050)
    const headers = `X-Secret: s\r\n${fillers}Connection: X-Secret\r\nContent-Length: 5\r\n`
    const head = headOf(scene, 'POST', Number(address.split(':')[1]), '/a', headers)
    const answer = await raw(t)
      .send(`${head}hello`)
      .until(/\r\n\r\n/)
    assert.match(answer, /^HTTP\/1.1 204 /)
    assert.match(seen, /content-length: 5\r\n/i)
    assert.doesNotMatch(seen, /x-secret/i)
  })

  await t.test('errors of the tunnel are told from those of the service', async (t) => {
    const port = await startService(t, (_incoming, outgoing) =>
      outgoing
        .writeHead(502, { 'x-tunnel-error': 'POLICY_DENIED', 'content-type': 'application/problem+json' })
        .end('{}'),
    )
    const own = await call(port, '/')
    assert.deepEqual([own.status, own.headers.get('x-tunnel-error'), await own.text()], [502, null, '{}'])
    const refused = await call(1, '/')
    const problem = (await refused.json()) as Record<string, unknown>
    assert.deepEqual([refused.status, refused.headers.get('x-tunnel-error')], [502, 'CONNECT_REFUSED'])
    assert.deepEqual([problem.code, problem.hop], ['CONNECT_REFUSED', 'target'])
    for (const wrong of ['0', '65536', '1e3', '-1', 'x'])
      assert.equal((await call(wrong as never, '/')).headers.get('x-tunnel-error'), 'REQUEST_INVALID')
  })

  await t.test('100, 103 and trailers pass, and a body is sent when the service asks for it', async (t) => {
    const port = await startService(
      t,
      (incoming, outgoing) => {
        incoming.resume().on('end', () => {
          outgoing.writeEarlyHints({ link: '</a.css>; rel=preload' })
          outgoing.writeHead(200, { trailer: 'x-sum' })
          outgoing.write(JSON.stringify(incoming.rawTrailers))
          outgoing.addTrailers({ 'x-sum': '1' })
          outgoing.end()
        })
      },
      (server) =>
        server.on('checkContinue', (incoming, outgoing) => {
          if (incoming.url === '/no') return void outgoing.writeHead(417).end('no')
          outgoing.writeContinue()
          server.emit('request', incoming, outgoing)
        }),
    )
    const more = 'Expect: 100-continue\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n'
    const caller = raw(t).send(headOf(scene, 'POST', port, '/', more))
    assert.equal(await caller.until(/\r\n\r\n/), 'HTTP/1.1 100 Continue\r\n\r\n')
    const text = await caller
      .send('2\r\nhi\r\n0\r\nX-T: 1\r\nAuthorization: no\r\n\r\n')
      .until(/\r\n0\r\n.*\r\n\r\n/s)
    assert.match(
      text,
      /\r\n\r\nHTTP\/1.1 103 Early Hints\r\nLink: <\/a.css>; rel=preload\r\n.*HTTP\/1.1 200 OK\r\ntrailer: x-sum\r\n/s,
    )
    assert.match(text, /\r\n\["X-T","1"\]\r\n0\r\nx-sum: 1\r\n\r\n$/s)
    const refused = await raw(t)
      .send(headOf(scene, 'POST', port, '/no', more))
      .over()
    assert.match(refused, /^HTTP\/1.1 417 .*Connection: close.*\r\nno\r\n/s)
  })

  await t.test(
    'bytes of a stream arrive as they are sent, and a caller that leaves ends it at the service',
    async (t) => {
      let service: { socket: Socket } | undefined
      let gone = false
      const port = await startService(t, (incoming, outgoing) => {
        service = incoming
        outgoing.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n')
        outgoing.once('close', () => {
          gone = true
        })
      })
      const caller = raw(t).send(headOf(scene, 'GET', port, '/'))
      assert.match(await caller.until(/data: 1\n\n/), /data: 1/)
      assert.ok(service !== undefined && !gone)
      // Some leave before they are let in.
      for (let index = 0; index < 20; index++) {
        const hasty = raw(t).send(headOf(scene, 'GET', port, '/'))
        hasty.socket.end(() => setImmediate(() => hasty.socket.destroy()))
      }
      caller.socket.destroy()
      await until(() => gone)
      await idle()
    },
  )

  await t.test('a service that breaks off is never taken for one that ends', async (t) => {
    const heads = ['Content-Length: 9\r\n', 'Transfer-Encoding: chunked\r\n']
    for (const [index, head] of heads.entries())
      for (const version of ['1.1', '1.0']) {
        const body = index === 0 ? 'half' : '4\r\nhalf\r\n'
        const target = await listenTcp(t, (socket) =>
          socket.once('data', () =>
            socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n${body}`, () => socket.destroy()),
          ),
        )
        const request = headOf(scene, 'GET', Number(target.split(':')[1]), '/').replace(
          'HTTP/1.1',
          `HTTP/${version}`,
        )
        const caller = raw(t).send(request)
        let isReset = false
        caller.socket.on('error', () => {
          isReset = true
        })
        const text = await caller.over()
        const isTold = text.includes('x-tunnel-error: CONNECT_REFUSED')
        const isFramed = /Content-Length|chunked/.test(text)
        const isWhole = !isTold && (text.endsWith('0\r\n\r\n') || (!isFramed && !isReset && text !== ''))
        assert.ok(!isWhole, `${head.trim()} ${version}: ${text}`)
      }
  })

  await t.test('an upload byte by byte arrives whole', async (t) => {
    let received = ''
    const port = await startService(t, (incoming, outgoing) => {
      incoming.on('data', (bytes: Buffer) => {
        received += String(bytes)
      })
      incoming.on('end', () => outgoing.end('all'))
    })
    const sent = Array.from({ length: 20_000 }, (_, index) => String(index % 10))
    const caller = raw(t)
      .send(headOf(scene, 'POST', port, '/', 'Transfer-Encoding: chunked\r\n'))
      .send(`${sent.map((digit) => `1\r\n${digit}\r\n`).join('')}0\r\n\r\n`)
    assert.match(await caller.until(/all/), /^HTTP\/1\.1 200 /)
    assert.equal(received, sent.join(''))
    await idle()
  })

  await t.test(
    'an upload of unknown length, and one that a service does not read, hold no memory',
    async (t) => {
      let received = 0
      let stuckAt: Socket | undefined
      const port = await startService(t, (incoming, outgoing) => {
        if (incoming.url === '/stuck') {
          stuckAt = incoming.socket
          return
        }
        incoming.on('data', (bytes: Buffer) => {
          received += bytes.length
        })
        incoming.on('end', () => outgoing.end(String(received)))
      })
      const pieces = async function* () {
        for (let index = 0; index < 64; index++) yield new Uint8Array(65_536)
      }
      const body = pieces() as unknown as NonNullable<RequestInit['body']>
      const answer = await call(port, '/', { method: 'POST', body, duplex: 'half' } as never)
      assert.equal(await answer.text(), String(4 * MIB))

      const heldBefore = await heldBufferBytes()
      const caller = raw(t).send(headOf(scene, 'POST', port, '/stuck', 'Transfer-Encoding: chunked\r\n'))
      const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`
      let written = 0
      const fill = () => {
        while (written < 256 * MIB) {
          written += chunk.length
          if (!caller.socket.write(chunk, 'latin1')) return
        }
      }
      fill()
      // It takes what fits into windows and sockets, and then no more, while others are answered.
      const drained = () => once(caller.socket, 'drain').then(() => true)
      const stuck = async () => {
        for (let count = 0; count < 30; count++) await (await call(port, '/')).text()
        return false
      }
      while (await Promise.race([drained(), stuck()])) fill()
      assert.ok(written < 256 * MIB, 'the caller could send all')
      // What sockets hold is the kernel's: tens of MiB where it may be.
      const grown = (await heldBufferBytes()) - heldBefore
      assert.ok(grown < 32 * MIB, `of ${written} bytes ${grown} are held`)
      // While nothing is read from a caller nobody can know that it has left: here the service has had enough.
      stuckAt?.destroy()
      assert.match(
        await caller.until(/x-tunnel-error: \w+/),
        /^HTTP\/1.1 502 .*x-tunnel-error: OUTCOME_UNKNOWN/s,
      )
      await idle()
    },
  )

  await t.test(
    'a caller that does not read holds up nobody else, and its service is held back',
    async (t) => {
      let sent = 0
      const port = await startService(t, (incoming, outgoing) => {
        if (incoming.url !== '/flood') return void outgoing.end('quick')
        const piece = Buffer.alloc(65_536)
        const go = (): void => {
          while (sent < 256 * MIB && outgoing.writable) {
            sent += piece.length
            if (!outgoing.write(piece)) return void outgoing.once('drain', go)
          }
        }
        go()
      })
      const heldBefore = await heldBufferBytes()
      const caller = raw(t)
      caller.socket.pause()
      caller.send(headOf(scene, 'GET', port, '/flood'))
      for (let index = 0; index < 50; index++) assert.equal(await (await call(port, '/')).text(), 'quick')
      assert.ok(sent < 256 * MIB, 'the service could send all')
      const grown = (await heldBufferBytes()) - heldBefore
      assert.ok(grown < 32 * MIB, `of ${sent} bytes ${grown} are held`)
      caller.socket.destroy()
      await idle()
    },
  )

  await t.test('an upgrade speaks its protocol both ways, to either end', async (t) => {
    const webSockets: WebSocketServer[] = []
    const port = await startService(t, echo as never, (server) => {
      const sockets = new WebSocketServer({ server, path: '/ws' })
      webSockets.push(sockets)
      sockets.on('connection', (socket) => {
        socket.on('message', (bytes, isBinary) => socket.send(bytes as Buffer, { binary: isBinary }))
        socket.send('hello')
      })
    })
    const socket = new WebSocket(`${proxy.url.replace('http', 'ws')}${scene.base(port)}/ws`, {
      headers: { authorization: `Bearer ${token}` },
    })
    assert.equal(String((await once(socket, 'message'))[0]), 'hello')
    const large = Buffer.alloc(3 * MIB, 'x')
    socket.send(large)
    assert.deepEqual((await once(socket, 'message'))[0], large)
    socket.close(4_000, 'bye')
    assert.equal((await once(socket, 'close'))[0], 4_000)
    // One that the service does not take is an answer like any other.
    const more = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
    assert.match(
      await raw(t)
        .send(headOf(scene, 'GET', port, '/other', more))
        .over(),
      /^HTTP\/1.1 400 Bad Request/,
    )

    // Any protocol; what comes behind the request is its first bytes, and the end of one side ends the other.
    const target = await listenTcp(t, (side) =>
      side.once('data', () => {
        side.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst ')
        side.pipe(side)
      }),
    )
    const other = headOf(
      scene,
      'GET',
      Number(target.split(':')[1]),
      '/',
      'Connection: upgrade\r\nUpgrade: echo\r\n',
    )
    const caller = raw(t).send(`${other}early `)
    assert.match(await caller.until(/early /), /^HTTP\/1.1 101 .*Upgrade: echo\r\n\r\nfirst early $/s)
    caller.send('late')
    await caller.until(/late/)
    caller.socket.end()
    assert.match(await caller.over(), /first early late$/)
    await idle()
  })

  await t.test('a request ends with its token, whoever it belongs to', async (t) => {
    const port = await startService(t, (_incoming, outgoing) => void outgoing.writeHead(200).write('begun'))
    const own = proxy.tokenOf('alice')
    const caller = raw(t).send(headOf({ ...scene, token: own }, 'GET', port, '/'))
    await caller.until(/begun/)
    const revoked = await proxy.api('alice', 'auth/revoke', { method: 'POST', body: { token: own } })
    assert.equal(revoked.status, 204)
    assert.ok(!(await caller.over()).endsWith('0\r\n\r\n'))
    // One that lasts until the answer has begun, and not much longer.
    const begin = async (ttlSeconds: number): Promise<RawCaller> => {
      const brief = proxy.tokenOf('alice', { ttlSeconds })
      const second = raw(t).send(headOf({ ...scene, token: brief }, 'GET', port, '/'))
      return /begun/.test(await second.until(/begun|^HTTP\/1\.1 401 /)) ? second : begin(2 * ttlSeconds)
    }
    assert.ok(!(await (await begin(2)).over()).endsWith('0\r\n\r\n'))
    await idle()
  })

  await t.test('pipelined requests are answered in their order', async (t) => {
    let isThere!: (value: unknown) => void
    const last = new Promise((resolve) => {
      isThere = resolve
    })
    const port = await startService(t, async (incoming, outgoing) => {
      if (incoming.url === '/3') isThere(undefined)
      // The first is answered behind the others.
      if (incoming.url === '/1') await last
      outgoing.end(incoming.url)
    })
    const requests = ['/1', '/2', '/3'].map((path) => headOf(scene, 'GET', port, path))
    const text = await raw(t).send(requests.join('')).until(/\/3$/)
    assert.deepEqual(text.match(/\/\d$|\/\d(?=HTTP)/g), ['/1', '/2', '/3'])
  })

  await t.test('a service that does what it can costs its own requests alone', async (t) => {
    const { cases, outcomes, wrong } = await runHostile(t, scene, { cases: 60, seed: 11 })
    assert.deepEqual([cases, wrong], [60, []])
    assert.ok(outcomes.size > 15)
    await idle()
  })

  await t.test("a command's output comes as it is said, and how it ended", async (t) => {
    const run = (body: object) =>
      proxy.api('alice', 'machines/home/exec', { method: 'POST', body }).then(async (answer) => {
        const text = await answer.text()
        return answer.ok
          ? text
              .trim()
              .split('\n')
              .map((line) => JSON.parse(line) as object)
          : answer.status
      })
    assert.deepEqual(await run({ command: 'cat; echo wrong >&2; exit 3', stdin: 'gr\u00fc\u00df' }), [
      ...[{ stdout: 'gr\u00fc\u00df' }, { stderr: 'wrong\n' }, { exit: { code: 3 } }],
    ])
    const bytes = await run({ command: "printf '\\377'", encoding: 'base64' })
    assert.deepEqual(bytes, [{ stdout: '/w==' }, { exit: { code: 0 } }])
    assert.deepEqual([await run({ command: '' }), await run({ comand: 'x' })], [400, 400])
    const body = JSON.stringify({ command: 'echo begun; cat; sleep 600' })
    const more = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`
    const head = headOf({ ...scene, base: () => '/api/tunnel/machines/home/exec' }, 'POST', 0, '', more)
    const caller = raw(t).send(head + body)
    assert.match(await caller.until(/begun/), /\{"stdout":"begun\\n"\}/)
    caller.socket.destroy()
    await idle()
  })
})

test("of a user's browsers the oldest gives way to a further one, also when all come at once, and nobody else's", async () => {
  const sessions = new GatewaySessions(new MemoryRecords(Date.now, 200), 60_000)
  const asked = { form: 'host', machine: 'home', port: '80', path: '/', prefix: '', owner: 'tag' } as const
  const user = (sub: string): User => ({ sub, tier: 'free', roles: [], expiresAtMs: Date.now() + 60_000 })
  const make = async (sub: string) => (await sessions.make(user(sub), 'home', asked)).secret
  const bobs = await make('bob')
  const first = await make('alice')
  const others = await Promise.all(Array.from({ length: 50 }, () => make('alice')))
  assert.ok((await sessions.find([first], asked)) !== undefined)
  for (let count = 51; count < MAX_SESSIONS + 100; count++) others.push(await make('alice'))
  assert.equal(await sessions.find([first], asked), undefined)
  const found = await Promise.all(others.map((secret) => sessions.find([secret], asked)))
  assert.equal(found.filter((session) => session !== undefined).length, MAX_SESSIONS)
  assert.ok((await sessions.find([bobs], asked)) !== undefined)
})

test('who asks for a host name that a service has not is told why, and what offers the service without one', async (t) => {
  for (const [set, machine, reason] of [
    [[], 'home', /gateway\.host is empty/],
    [['gateway.host=localhost'], 'home.lan', /has a dot/],
  ] as const) {
    const proxy = await startProxy(t, { set: [...set] })
    await proxy.startAgent(machine, 'alice', '127.0.0.1:1')
    const problem = await (await proxy.api('alice', `machines/${machine}/origin/8080`)).text()
    assert.match(problem, reason)
    assert.match(problem, /`tunnel forward 8080:MACHINE/)
  }
})
