import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import test, { type TestContext } from 'node:test'
import type { TunnelService } from '../../client/index.ts'
import { drop, listenTcp, readAll, startProxy, type TestProxy, until } from '../support/proxy.ts'
import { seededBytes, seededSha256 } from '../support/random.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'

const skip = requireSystem('sshd')
const MIB = 1_048_576
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

interface Way {
  proxy: TestProxy
  tunnel: TunnelService
}

async function way(t: TestContext): Promise<Way> {
  // A busy computer takes longer than a request may wait for a channel by default.
  const [proxy, sshd] = await Promise.all([startProxy(t, { set: ['pool.waitMs=120000'] }), startSshd(t)])
  await proxy.startAgent('home', 'alice', sshd)
  return { proxy, tunnel: await proxy.connect('alice') }
}

/** A web service on the machine; answers with its port. */
async function serve(t: TestContext, listener: RequestListener): Promise<number> {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  t.after(() => server.closeAllConnections())
  return (server.address() as AddressInfo).port
}

/** Calls back when more may be written, or never again. */
function awaken(response: ServerResponse, go: (value: unknown) => void): void {
  const wake = () => {
    response.off('drain', wake).off('close', wake)
    go(undefined)
  }
  response.on('drain', wake).on('close', wake)
}

/** An input that is there and says nothing. */
async function* openInput(): AsyncGenerator<Buffer> {
  await new Promise(() => {})
  yield Buffer.alloc(0)
}

/** No stream, no channel and no request is left at the proxy. */
async function idle({ proxy, tunnel }: Way): Promise<void> {
  await until(() => proxy.app.pool.states().busy === 0)
  await until(() => tunnel.link?.streamCount === 0)
}

test('HTTP through the inspected path', { skip }, async (t) => {
  const here = await way(t)
  const { proxy, tunnel } = here

  await t.test('1,000 concurrent requests are each answered with their own body', async (t) => {
    const port = await serve(t, (request, response) => {
      response.writeHead(200, { 'x-echo': request.url ?? '' })
      request.pipe(response)
    })
    const big = await proxy.connect('alice', { settings: { queue: { maxRequests: 1_000 } } })
    let wrong = 0
    await Promise.all(
      Array.from({ length: 1_000 }, async (_, index) => {
        const body = randomBytes(1 + (index % 50) * 400)
        const answer = await big.forwardRequest({
          machine: 'home',
          port,
          method: 'POST',
          path: `/${index}`,
          body,
        })
        const right =
          answer.status === 200 && answer.headers.get('x-echo') === `/${index}` && body.equals(answer.body)
        if (!right) wrong++
      }),
    )
    assert.equal(wrong, 0)
    await idle({ proxy, tunnel: big })
    await big.disconnect(0)
  })

  await t.test('server-sent events arrive as they are produced', async (t) => {
    const seen = new EventEmitter()
    const port = await serve(t, async (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (let n = 1; n <= 20; n++) {
        const acknowledged = once(seen, String(n))
        response.write(`data: ${n}\n\n`)
        await acknowledged
      }
      response.end()
    })
    const response = await tunnel.fetch(`http://home:${port}/`)
    const events: string[] = []
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      const text = Buffer.from(chunk).toString()
      events.push(text)
      seen.emit(/data: (\d+)/.exec(text)?.[1] ?? '')
    }
    assert.equal(events.length, 20)
  })

  await t.test(
    'a request body streams up: the answer to a part comes before the next part is written',
    async (t) => {
      const port = await serve(t, (request, response) => {
        response.writeHead(200)
        response.flushHeaders()
        request.on('data', (chunk: Buffer) => response.write(`got ${chunk}`))
        request.on('end', () => response.end())
      })
      const answered = new EventEmitter()
      const body = async function* () {
        for (let n = 1; n <= 10; n++) {
          const reply = once(answered, `got ${n}`)
          yield Buffer.from(String(n))
          await reply
        }
      }
      const response = await tunnel.fetch(`http://home:${port}/`, {
        method: 'POST',
        body: body() as never,
        duplex: 'half',
      } as never)
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        answered.emit(Buffer.from(chunk).toString())
      }
    },
  )

  await t.test(
    'a slow reader slows its own stream alone, and is not given more than its window',
    async (t) => {
      let written = 0
      const port = await serve(t, async (request, response) => {
        if (request.url === '/quick') return void response.end('quick')
        const chunk = Buffer.alloc(65_536)
        while (written < 256 * MIB && !response.destroyed) {
          written += chunk.length
          if (!response.write(chunk)) await new Promise((resolve) => awaken(response, resolve))
        }
        response.end()
      })
      const abort = new AbortController()
      const slow = await tunnel.fetch(`http://home:${port}/slow`, { signal: abort.signal })
      const reader = slow.body!.getReader()
      await reader.read()
      for (let i = 0; i < 50; i++) {
        const quick = await tunnel.forwardRequest({ machine: 'home', port, path: '/quick' })
        assert.equal(quick.text(), 'quick')
      }
      // Windows, SSH's own, and sockets' buffers; not the quarter of a GiB that there is.
      assert.ok(written < 96 * MIB, `${written} bytes were taken`)
      abort.abort()
      await reader.read().catch(() => {})
      await idle(here)
    },
  )

  await t.test('HEAD, 204 and 304 have no body, whatever their headers say', async (t) => {
    const port = await serve(t, (request, response) => {
      const status = Number(request.url?.slice(1)) || 200
      response.writeHead(status, { ...(status === 200 && { 'content-length': '1000' }), etag: '"x"' })
      response.end(request.method === 'HEAD' || status !== 200 ? undefined : 'x'.repeat(1_000))
    })
    const head = await tunnel.forwardRequest({ machine: 'home', port, method: 'HEAD' })
    assert.deepEqual([head.status, head.body.length, head.headers.get('content-length')], [200, 0, '1000'])
    for (const status of [204, 304]) {
      const answer = await tunnel.forwardRequest({ machine: 'home', port, path: `/${status}` })
      assert.deepEqual([answer.status, answer.body.length, answer.headers.get('etag')], [status, 0, '"x"'])
      const fetched = await tunnel.fetch(`http://home:${port}/${status}`)
      assert.deepEqual([fetched.status, (await fetched.arrayBuffer()).byteLength], [status, 0])
    }
    assert.equal((await tunnel.forwardRequest({ machine: 'home', port })).body.length, 1_000)
  })

  await t.test('headers keep their number and order, both ways', async (t) => {
    const port = await serve(t, (request, response) => {
      response.setHeader('set-cookie', ['a=1', 'b=2; Path=/', 'c=3'])
      response.setHeader('x-Mixed-Case', 'yes')
      response.end(JSON.stringify(request.rawHeaders))
    })
    const answer = await tunnel.forwardRequest({
      machine: 'home',
      port,
      headers: [
        ['x-list', 'one'],
        ['x-list', 'two'],
        ['cookie', 'k=v'],
      ],
    })
    const raw = answer.json() as string[]
    const values = raw.flatMap((name, index) =>
      index % 2 === 0 && name.toLowerCase() === 'x-list' ? [raw[index + 1]] : [],
    )
    assert.deepEqual(values.join(', '), 'one, two')
    assert.deepEqual(answer.headers.getSetCookie(), ['a=1', 'b=2; Path=/', 'c=3'])
    assert.deepEqual(answer.rawHeaders.filter(([name]) => name.toLowerCase() === 'set-cookie').length, 3)
  })

  await t.test('a response of 8 MiB, and a request of 8 MiB', async (t) => {
    const port = await serve(t, (request, response) => {
      if (request.method === 'GET') return void response.end(seededBytes('8', 8 * MIB))
      const hash = createHash('sha256')
      request
        .on('data', (chunk: Buffer) => hash.update(chunk))
        .on('end', () => response.end(hash.digest('hex')))
    })
    const down = await tunnel.forwardRequest({ machine: 'home', port })
    assert.equal(sha256(down.body), seededSha256('8', 8 * MIB))
    const up = await tunnel.forwardRequest({
      machine: 'home',
      port,
      method: 'PUT',
      body: seededBytes('8', 8 * MIB),
    })
    assert.equal(up.text(), seededSha256('8', 8 * MIB))
  })

  await t.test('giving a request up, at any point, frees everything, the service included', async (t) => {
    const closed = new EventEmitter()
    let open = 0
    const port = await serve(t, (request, response) => {
      open++
      response.on('close', () => {
        open--
        closed.emit('close')
      })
      if (request.url === '/silent') return
      response.write('begun')
    })
    for (const path of ['/silent', '/begun']) {
      const abort = new AbortController()
      const asked = Array.from({ length: 10 }, () =>
        tunnel.fetch(`http://home:${port}${path}`, { signal: abort.signal }),
      )
      const results = Promise.allSettled(asked)
      await until(() => open === 10)
      const responses = path === '/begun' ? await Promise.all(asked) : []
      abort.abort()
      await results
      for (const response of responses) await assert.rejects(response.text())
      await until(() => open === 0)
    }
    await idle(here)
  })

  await t.test('a port that refuses is an error of its own, and so is a service that hangs up', async (t) => {
    await assert.rejects(tunnel.forwardRequest({ machine: 'home', port: 1 }), {
      code: 'CONNECT_REFUSED',
      hop: 'target',
    })
    const address = await listenTcp(t, (socket) => socket.once('data', () => socket.destroy()))
    const target = { machine: 'home', target: address, method: 'POST', body: 'x' }
    await assert.rejects(tunnel.forwardRequest(target), { category: 'network' })
    await idle(here)
  })
})

test('commands and connections through the inspected path', { skip }, async (t) => {
  const here = await way(t)
  const { tunnel } = here

  await t.test('exec keeps its outputs apart, and passes on stdin and status', async () => {
    const input = seededBytes('in', 3 * MIB)
    const line = 'sha256sum; echo problem >&2; head -c 1000000 /dev/zero >&2; exit 41'
    const { stdout, stderr, exitCode, signal } = await tunnel.exec('home', line, { stdin: input })
    assert.equal(stdout.toString().slice(0, 64), sha256(input))
    assert.equal(stderr.length, 'problem\n'.length + 1_000_000)
    assert.deepEqual([exitCode, signal], [41, null])
  })

  await t.test('exec tells the signal that ended the command', async () => {
    const killed = await tunnel.exec('home', 'kill -TERM $$')
    assert.deepEqual([killed.exitCode, killed.signal], [null, 'TERM'])
  })

  await t.test('words are passed as they are, and a shell line as a shell reads it', async () => {
    const words = ['printf', '%s|', "it's", '$HOME', 'a  b', '', '*', '\n', 'ünï']
    assert.equal((await tunnel.exec('home', words)).stdout.toString(), "it's|$HOME|a  b||*|\n|ünï|")
    assert.equal((await tunnel.exec('home', 'echo $((6*7))')).stdout.toString(), '42\n')
    assert.equal((await tunnel.exec('home', 'no-such-command-here')).exitCode, 127)
  })

  await t.test('a command that is given up ends on the machine', async () => {
    const abort = new AbortController()
    const mark = `tunnel-test-${randomBytes(6).toString('hex')}`
    const stdout = new PassThrough()
    const running = tunnel.exec('home', `echo up; exec -a ${mark} cat`, {
      stdin: openInput(),
      stdout,
      signal: abort.signal,
    })
    await once(stdout, 'data')
    abort.abort()
    await assert.rejects(running)
    await until(
      async () =>
        (await tunnel.exec('home', `pgrep -f '[${mark[0]}]${mark.slice(1)}' || true`)).stdout.length === 0,
    )
    await idle(here)
  })

  await t.test('tcp closes one half without the other, from either side', async (t) => {
    const asks = await listenTcp(t, (socket) => {
      const chunks: Buffer[] = []
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      socket.on('end', () => socket.end(`heard ${Buffer.concat(chunks)}`))
    })
    const first = await tunnel.open({ machine: 'home', kind: 'tcp', target: asks })
    first.end('a question')
    assert.equal(String(await readAll(first)), 'heard a question')
    const tells = await listenTcp(t, (socket) => {
      socket.end('that is all')
      socket.on('data', (chunk: Buffer) => heard.emit('heard', String(chunk)))
    })
    const heard = new EventEmitter()
    const second = await tunnel.open({ machine: 'home', kind: 'tcp', target: tells })
    assert.equal(String(await readAll(second)), 'that is all')
    const said = once(heard, 'heard')
    second.write('one word more')
    assert.deepEqual(await said, ['one word more'])
    drop(second)
    await idle(here)
  })
})
