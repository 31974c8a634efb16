import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import type { HeaderList } from '../../../protocol/codec/heads.ts'
import { hasCode, header, read, request, streaming } from './http-requests.ts'
import { startRig, tcpService, webService } from './rig.ts'

test('a small request is answered in one frame, with the service own status, headers and body', async (t) => {
  const rig = await startRig(t)
  const target = await webService(t, (incoming, outgoing) => {
    outgoing.writeHead(203, 'Quite So', {
      'X-Path': incoming.url,
      'X-Host': incoming.headers.host,
      'Set-Cookie': ['a=1', 'b=2'],
    })
    outgoing.end('hello')
  })
  const opened = request(rig, target, { path: '/some/where?x=1' })
  const { http } = await opened.accepted
  await opened.closed
  assert.equal(http?.status, 203)
  assert.equal(http?.statusText, 'Quite So')
  assert.equal(header(http?.headers ?? [], 'x-path'), '/some/where?x=1')
  assert.equal(header(http?.headers ?? [], 'x-host'), target)
  assert.deepEqual(
    http?.headers.filter(([name]) => name === 'Set-Cookie').map(([, value]) => value),
    ['a=1', 'b=2'],
  )
  assert.equal(opened.text, 'hello')
})

test('hop-by-hop headers stay on their hop, both ways', async (t) => {
  const rig = await startRig(t)
  let seen: IncomingMessage['headers'] = {}
  const target = await webService(t, (incoming, outgoing) => {
    seen = incoming.headers
    outgoing.writeHead(200, {
      Connection: 'X-Private',
      'X-Private': '1',
      'Keep-Alive': 'timeout=5',
      'X-Public': '1',
    })
    outgoing.end()
  })
  const headers: HeaderList = [
    ['Connection', 'X-Mine, close'],
    ['X-Mine', '1'],
    ['TE', 'trailers'],
    ['Proxy-Authorization', 'secret'],
    ['Expect', '100-continue'],
    ['X-Other', '1'],
    ['Host', 'example.org'],
  ]
  const head = await request(rig, target, { headers }).head()
  for (const name of ['x-mine', 'te', 'proxy-authorization', 'expect'])
    assert.equal(seen[name], undefined, name)
  assert.equal(seen['x-other'], '1')
  assert.equal(seen.host, 'example.org')
  for (const name of ['connection', 'x-private', 'keep-alive', 'transfer-encoding']) {
    assert.equal(header(head.headers, name), undefined, name)
  }
  assert.equal(header(head.headers, 'x-public'), '1')
})

test('HEAD, 204 and 304 have no body and do not hold up the next request', async (t) => {
  const rig = await startRig(t)
  const target = await webService(t, (incoming, outgoing) => {
    const status = Number(incoming.url?.slice(1))
    outgoing.writeHead(status, status === 200 ? { 'content-length': '12' } : {})
    outgoing.end(incoming.method === 'HEAD' ? undefined : status === 200 ? 'twelve bytes' : undefined)
  })
  for (const [method, path] of [
    ['HEAD', '/200'],
    ['GET', '/204'],
    ['GET', '/304'],
    ['GET', '/200'],
  ] as const) {
    const opened = request(rig, target, { method, path })
    const head = await opened.head()
    await opened.closed
    assert.equal(head.status, Number(path.slice(1)))
    if (path === '/200') assert.equal(header(head.headers, 'content-length'), '12')
    assert.equal(opened.text, method === 'GET' && path === '/200' ? 'twelve bytes' : '')
  }
})

test('a second request costs neither a connection nor a channel', async (t) => {
  const rig = await startRig(t)
  const ports = new Set<number | undefined>()
  const target = await webService(t, (incoming, outgoing) => {
    ports.add(incoming.socket.remotePort)
    outgoing.end('x')
  })
  for (let index = 0; index < 5; index++) await request(rig, target).closed
  assert.equal(ports.size, 1)
  assert.equal(rig.sockets.length, 1)
})

test('400 requests at once, each with a body of its own, come back right and never mixed up', async (t) => {
  // A busy computer takes longer than a request may wait for a channel by default.
  const rig = await startRig(t, { pool: { waitMs: 120_000 } })
  const target = await webService(t, async (incoming, outgoing) => {
    const body = await read(incoming)
    outgoing.writeHead(200, { 'x-id': incoming.headers['x-id'] })
    outgoing.end(Buffer.concat([Buffer.from(`${incoming.headers['x-id']}:`), body]))
  })
  const all = Array.from({ length: 400 }, async (_, index) => {
    const body = randomBytes(1 + ((index * 37) % 9_000))
    const init = { method: 'POST', path: `/${index}`, headers: [['X-Id', String(index)]] as HeaderList, body }
    const opened = index % 2 === 0 ? request(rig, target, init) : streaming(rig, target, init)
    if (index % 2 === 1) {
      opened.stream.write(body.slice())
      opened.stream.end()
    }
    const head = await opened.head()
    await opened.closed
    assert.equal(header(head.headers, 'x-id'), String(index))
    assert.ok(opened.bytes.equals(Buffer.concat([Buffer.from(`${index}:`), body])), `request ${index}`)
  })
  await Promise.all(all)
  assert.ok(rig.sockets.length <= 3, `${rig.sockets.length} SSH connections`)
  await rig.settled()
  assert.equal(rig.app.forward.overview.held().bytes, 0)
})

test('a response arrives as it is produced', async (t) => {
  const rig = await startRig(t)
  let response: ServerResponse | undefined
  const target = await webService(t, (_incoming, outgoing) => {
    response = outgoing
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' })
    outgoing.write('data: 1\n\n')
  })
  const opened = request(rig, target)
  await opened.until(() => opened.text === 'data: 1\n\n')
  response?.write('data: 2\n\n')
  await opened.until(() => opened.text === 'data: 1\n\ndata: 2\n\n')
  response?.end()
  await opened.closed
})

test('a request body streams up, and the response may begin before it is complete', async (t) => {
  const rig = await startRig(t)
  const target = await webService(t, (incoming, outgoing) => {
    incoming.on('data', (chunk: Buffer) => outgoing.write(chunk.toString().toUpperCase()))
    incoming.on('end', () => outgoing.end('.'))
  })
  const opened = streaming(rig, target)
  opened.stream.write(Buffer.from('one '))
  await opened.until(() => opened.text === 'ONE ')
  opened.stream.write(Buffer.from('two'))
  await opened.until(() => opened.text === 'ONE TWO')
  opened.stream.end()
  await opened.closed
  assert.equal(opened.text, 'ONE TWO.')
})

test('32 MiB up and 32 MiB down arrive unchanged', async (t) => {
  const rig = await startRig(t)
  const payload = randomBytes(32 * 1_048_576)
  const target = await webService(t, (incoming, outgoing) => {
    outgoing.writeHead(200, { 'content-length': incoming.headers['content-length'] })
    incoming.pipe(outgoing)
  })
  const opened = streaming(rig, target, { headers: [['Content-Length', String(payload.length)]] })
  await opened.send(payload)
  opened.stream.end()
  await opened.closed
  const hash = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
  assert.equal(hash(opened.bytes), hash(payload))
})

test('a slow reader stops the service and slows nobody else', async (t) => {
  const rig = await startRig(t)
  let written = 0
  const total = 64 * 1_048_576
  const target = await webService(t, async (incoming, outgoing) => {
    if (incoming.url === '/small') return void outgoing.end('small')
    outgoing.on('error', () => {})
    const chunk = Buffer.alloc(1_048_576)
    while (written < total) {
      written += chunk.length
      if (!outgoing.write(chunk)) await once(outgoing, 'drain')
    }
    outgoing.end()
  })
  const slow = request(rig, target, { path: '/big' })
  slow.hold = true
  await slow.until(() => slow.heldBytes >= 262_000)
  for (let index = 0; index < 50; index++) {
    const quick = request(rig, target, { path: '/small' })
    await quick.closed
    assert.equal(quick.text, 'small')
  }
  assert.ok(written < total, `the service could write ${written} bytes`)
  slow.take()
  await slow.closed
  assert.equal(slow.bytes.length, total)
})

test('a service that does not read a request body stops its writer, and nobody else', async (t) => {
  const rig = await startRig(t)
  const total = 48 * 1_048_576
  let read: () => void = () => {}
  const mayRead = new Promise<void>((resolve) => {
    read = resolve
  })
  const target = await webService(t, async (incoming, outgoing) => {
    if (incoming.url === '/late') await mayRead
    let bytes = 0
    for await (const chunk of incoming) bytes += (chunk as Buffer).length
    outgoing.end(String(bytes))
  })
  const late = streaming(rig, target, { path: '/late' })
  const sent = late.send(Buffer.alloc(total))
  // Goes all the way meanwhile, as the other would.
  const other = streaming(rig, target)
  await other.send(Buffer.alloc(total))
  other.stream.end()
  await other.closed
  assert.equal(other.text, String(total))
  // Windows, SSH's own, and sockets' buffers.
  const { sentOffset } = late.stream
  assert.ok(sentOffset < 44 * 1_048_576, `the proxy took ${sentOffset} bytes`)
  read()
  await sent
  late.stream.end()
  await late.closed
  assert.equal(late.text, String(total))
})

test('a GET that does not say whether it has a body is sent without one', async (t) => {
  const rig = await startRig(t)
  let headers: IncomingMessage['headers'] = {}
  const target = await webService(t, (incoming, outgoing) => {
    headers = incoming.headers
    outgoing.end('ok')
  })
  const opened = streaming(rig, target, { method: 'GET' })
  opened.stream.end()
  assert.equal((await opened.head()).status, 200)
  await opened.closed
  assert.equal(headers['transfer-encoding'], undefined)
})

test('a reset by the client ends the request at the service', async (t) => {
  const rig = await startRig(t)
  let onClose: () => void = () => {}
  const closed = new Promise<void>((resolve) => {
    onClose = resolve
  })
  const target = await webService(t, (incoming, outgoing) => {
    if (incoming.url === '/ok') return void outgoing.end('ok')
    outgoing.on('close', onClose)
    outgoing.write('begun')
  })
  const opened = request(rig, target)
  await opened.until(() => opened.text === 'begun')
  opened.stream.reset(new TunnelError('ABORTED', 'not wanted any more', { hop: 'proxy' }))
  await closed
  const next = request(rig, target, { path: '/ok' })
  await next.closed
  assert.equal(next.text, 'ok')
})

test('what goes wrong has its code', async (t) => {
  const rig = await startRig(t)
  const impatient = await startRig(t, { request: { timeoutMs: 300 } })
  const silent = await tcpService(t, () => {})
  const rude = await tcpService(t, (socket) => socket.once('data', () => socket.destroy()))
  const alien = await tcpService(t, (socket) => socket.end('220 mail.example.org ESMTP\r\n'))
  const half = await tcpService(t, (socket) =>
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')),
  )
  const endless = await tcpService(t, (socket) => {
    const flood = (): void => {
      while (socket.writable)
        if (!socket.write('X-A: 1\r\n'.repeat(500))) return void socket.once('drain', flood)
    }
    socket.write('HTTP/1.1 200 OK\r\n')
    flood()
  })
  const many = await tcpService(t, (socket) =>
    socket.once('data', () =>
      socket.end(`HTTP/1.1 200 OK\r\n${'X-A: 1\r\n'.repeat(1_000)}Content-Length: 2\r\n\r\nokmore`),
    ),
  )
  await assert.rejects(request(rig, endless).closed, hasCode('CONNECT_REFUSED'))
  // A thousand headers are ordinary; what comes behind the end is nobody's, and costs the connection alone.
  for (let times = 0; times < 2; times++) {
    const answered = request(rig, many)
    await answered.closed
    assert.equal(answered.text, 'ok')
    assert.equal((await answered.accepted).http?.headers.length, 1_001)
  }
  await assert.rejects(request(impatient, silent).closed, hasCode('TIMEOUT'))
  await assert.rejects(request(rig, rude).closed, hasCode('CONNECT_REFUSED'))
  await assert.rejects(request(rig, alien).closed, hasCode('CONNECT_REFUSED'))
  await assert.rejects(request(rig, half).closed, hasCode('CONNECT_REFUSED'))
  await assert.rejects(request(rig, '127.0.0.1:1').closed, hasCode('CONNECT_REFUSED'))
  await assert.rejects(request(rig, 'nonsense').closed, hasCode('FRAME_INVALID'))
  await assert.rejects(request(rig, silent, { method: 'G E T' }).closed, hasCode('FRAME_INVALID'))
  await assert.rejects(request(rig, silent, { path: 'no-slash' }).closed, hasCode('FRAME_INVALID'))
  await assert.rejects(request(rig, silent, { headers: [['X', 'a\r\nb']] }).closed, hasCode('FRAME_INVALID'))
  await rig.settled()
})

test('a body that is not as long as it says is FRAME_INVALID', async (t) => {
  const rig = await startRig(t)
  const target = await webService(
    t,
    (incoming, outgoing) => void incoming.resume().on('end', () => outgoing.end('ok')),
  )
  for (const length of ['3', '9']) {
    const headers: HeaderList = [['Content-Length', length]]
    await assert.rejects(
      request(rig, target, { method: 'POST', headers, body: Buffer.from('five!') }).closed,
      hasCode('FRAME_INVALID'),
    )
    const opened = streaming(rig, target, { headers })
    opened.stream.write(Buffer.from('five!'))
    opened.stream.end()
    await assert.rejects(opened.closed, hasCode('FRAME_INVALID'))
  }
  const next = request(rig, target)
  await next.closed
  assert.equal(next.text, 'ok')
})
