import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import test, { type TestContext } from 'node:test'
import { WebSocket } from 'ws'
import * as frames from '../../../protocol/codec/frames.ts'
import { FrameType } from '../../../protocol/codec/frames.ts'
import { startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { helloOf, idOf, RawClient, type RawOptions } from './raw-client.ts'

async function rawOf(t: TestContext, more: Partial<RawOptions> = {}) {
  const proxy = await startProxy(t)
  return { proxy, raw: new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice'), ...more }) }
}

/** Nothing of the link is left at the proxy. */
async function gone(proxy: TestProxy): Promise<void> {
  await until(() => proxy.app.links.count === 0)
  const connections = () =>
    new Promise<number>((resolve) => proxy.app.server.getConnections((_, count) => resolve(count)))
  await until(async () => (await connections()) === 0)
}

const DATA = frames.encodeFrame(FrameType.DATA, 1, Buffer.from('x'))
/** What breaks the whole link, after an orderly HELLO. */
const BREAKS: [name: string, frame: Uint8Array, code: number][] = [
  ['an empty message', Buffer.alloc(0), 4400],
  ['a frame without a whole header', Buffer.from([FrameType.PING, 0, 0]), 4400],
  ['an unknown type', frames.encodeFrame(0x3e, 0), 4400],
  ['a known type with a flag that it cannot have', frames.encodeFrame(FrameType.RESET | 0x80, 1), 4400],
  ['a PING of the wrong length', frames.encodeFrame(FrameType.PING, 0, Buffer.alloc(7)), 4400],
  ['a PING on a stream', frames.encodeFrame(FrameType.PING, 1, Buffer.alloc(8)), 4400],
  ['a second HELLO', frames.encodeJson(FrameType.HELLO, 0, helloOf()), 4400],
  ['DATA on a stream that was never opened', DATA, 4400],
  ['DATA on stream 0', frames.encodeFrame(FrameType.DATA, 0, Buffer.from('x')), 4400],
  ['OPEN with a number of the other side', frames.encodeHead(FrameType.OPEN, 2, { id: idOf(2) }), 4400],
  [
    'OPEN whose head is longer than its frame',
    frames.encodeFrame(FrameType.OPEN, 1, Buffer.alloc(4, 255)),
    4400,
  ],
  ['OPEN whose head is no JSON', frames.encodeFrame(FrameType.OPEN, 1, Buffer.from([0, 0, 0, 1, 123])), 4400],
  ['AUTH without a token', frames.encodeJson(FrameType.AUTH, 0, { token: 7 }), 4400],
  ['AUTH with a wrong token', frames.encodeJson(FrameType.AUTH, 0, { token: 'a.b.c' }), 4401],
  ['a message over the limit', frames.encodeFrame(FrameType.DATA, 1, Buffer.alloc(1_048_576)), 1009],
]

test('what breaks a link closes it, and leaves nothing of it', async (t) => {
  const proxy = await startProxy(t)
  const rawAt = (t: TestContext, more: Partial<RawOptions> = {}) =>
    new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice'), ...more })

  for (const [name, frame, code] of BREAKS) {
    await t.test(`${name} closes the link with ${code}`, async (t) => {
      const raw = rawAt(t)
      await raw.hello()
      raw.send(frame)
      assert.equal((await raw.closed).code, code)
      await gone(proxy)
    })
  }

  await t.test('a text message closes the link with 4400, before HELLO and after', async (t) => {
    const raw = rawAt(t)
    await raw.opened()
    raw.socket.send('hello?')
    assert.deepEqual((await raw.closed).code, 4400)
    const second = await rawAt(t).hello()
    second.socket.send('{"type":"request"}')
    const { code, reason } = await second.closed
    assert.equal(code, 4400)
    assert.match(reason, /^FRAME_INVALID: /)
    await gone(proxy)
  })

  await t.test('whoever says anything before HELLO is closed with 4400', async (t) => {
    const raw = rawAt(t)
    await raw.opened()
    raw.open(1, { kind: 'ssh', machine: 'home' })
    assert.equal((await raw.closed).code, 4400)
    await gone(proxy)
  })

  for (const [what, more, code] of [
    ['of another version', { version: 2 }, 4406],
    ['without limits', { limits: undefined as never }, 4400],
    ['with a heartbeat of nonsense', { heartbeat: { intervalMs: -1, timeoutMs: 1e99 } }, 4400],
    ['of an agent on the route of a client', { role: 'agent', machine: 'home' }, 4400],
  ] as const) {
    await t.test(`a HELLO ${what} closes the link with ${code}`, async (t) => {
      const raw = rawAt(t)
      await raw.opened()
      raw.json(FrameType.HELLO, 0, helloOf(more))
      assert.equal((await raw.closed).code, code)
      await gone(proxy)
    })
  }

  for (const [what, more] of [
    ['of a client', { role: 'client' }],
    ['without a machine', { role: 'agent' }],
    ['without its enrolment', { role: 'agent', machine: 'home' }],
  ] as const) {
    await t.test(`a HELLO ${what} on the route of an agent closes the link with 4400`, async (t) => {
      const raw = rawAt(t, { route: 'agent' })
      await raw.opened()
      raw.json(FrameType.HELLO, 0, helloOf(more))
      assert.equal((await raw.closed).code, 4400)
      await gone(proxy)
      assert.equal(((await (await proxy.api('alice', 'machines')).json()) as unknown[]).length, 0)
    })
  }

  await t.test(
    'an agent whose machine has an impossible name is told which, and stays off line',
    async (t) => {
      const raw = rawAt(t, { route: 'agent' })
      await raw.opened()
      const enrol = { hostKeys: [], sshUser: 'me' }
      raw.json(FrameType.HELLO, 0, helloOf({ role: 'agent', machine: '../Home', enrol }))
      assert.match((await raw.closed).reason, /^CONFIG_INVALID: machine = "..\/Home"/)
      await gone(proxy)
    },
  )
})

test('what is wrong with one OPEN ends that stream alone', async (t) => {
  const { raw } = await rawOf(t)
  await raw.hello()
  const wrong: Record<string, unknown>[] = [
    { kind: 'telnet', machine: 'home' },
    { kind: 'ssh', machine: 'home', id: 'short' },
    { kind: 'ssh', machine: '' },
    { kind: 'ssh', machine: 'x'.repeat(300) },
    { kind: 'ssh', machine: 'home', window: -1 },
    { kind: 'ssh', machine: 'home', window: 2 ** 60 },
    { kind: 'http', machine: 'home' },
    { kind: 'http', machine: 'home', http: { method: 'GET', path: '/', headers: [['a']] } },
    { kind: 'exec', machine: 'home', exec: {} },
  ]
  for (const [index, head] of wrong.entries()) {
    const number = index * 2 + 1
    raw.open(number, head)
    assert.equal((await raw.resetOf(number)).code, 'FRAME_INVALID', JSON.stringify(head))
  }
  raw.open(101, { kind: 'ssh', machine: 'nowhere' })
  assert.equal((await raw.resetOf(101)).code, 'MACHINE_UNKNOWN')
  raw.json(FrameType.RESUME, 103, {
    id: idOf(103),
    kind: 'ssh',
    machine: 'home',
    received: -5,
    limit: 1,
    attempt: 1,
  })
  assert.equal((await raw.resetOf(103)).code, 'FRAME_INVALID')
  // The link is as it was.
  raw.send(frames.encodeFrame(FrameType.PING, 0, Buffer.from('12345678')))
  await raw.frame((frame) => frame[0] === FrameType.PONG && frame.subarray(5).toString() === '12345678')
})

test('a number that was used before closes the link with 4400', async (t) => {
  const { proxy, raw } = await rawOf(t)
  await raw.hello()
  raw.open(5, { kind: 'ssh', machine: 'nowhere' })
  await raw.resetOf(5)
  raw.open(3, { kind: 'ssh', machine: 'nowhere' })
  assert.equal((await raw.closed).code, 4400)
  await gone(proxy)
})

test('frames that overtake the answer to an OPEN end that stream and leave the link', async (t) => {
  const { proxy, raw } = await rawOf(t)
  await raw.hello()
  raw.open(1, { kind: 'ssh', machine: 'nowhere' })
  raw.send(DATA)
  assert.match(String((await raw.resetOf(1)).code), /FRAME_INVALID|MACHINE_UNKNOWN/)
  raw.open(3, { kind: 'exec', machine: 'nowhere', exec: { command: 'true' } })
  raw.send(frames.encodeWindow(3, { received: 99, limit: 2 ** 40 }))
  assert.match(String((await raw.resetOf(3)).code), /FRAME_INVALID|MACHINE_UNKNOWN/)
  assert.equal(proxy.app.links.count, 1)
})

test('a thousand resumes a second close the link with 4429', async (t) => {
  const { proxy, raw } = await rawOf(t)
  await raw.hello()
  for (let number = 1; number < 6_000; number += 2) {
    raw.json(FrameType.RESUME, number, {
      id: idOf(number),
      kind: 'tcp',
      machine: 'home',
      received: 0,
      limit: 1,
      attempt: 1,
    })
  }
  assert.equal((await raw.closed).code, 4429)
  await gone(proxy)
})

test('of a link that is closed for a flood no more is read, and its peer is told why', async (t) => {
  const { proxy, raw } = await rawOf(t)
  await raw.hello()
  const sockets: Socket[] = []
  proxy.app.server.on('connection', (socket: Socket) => sockets.push(socket))
  const flooder = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('alice') }).hello()
  const head = { id: 'no', more: 'x'.repeat(2_000) }
  for (let number = 1; number < 20_000; number += 2) flooder.open(number, head)
  const { code } = await flooder.closed
  assert.equal(code, 4429)
  const [socket] = sockets as [Socket]
  assert.ok(socket.bytesRead < 5_000_000, `${socket.bytesRead} of 20 MB were read`)
  // Another link of the same user is not closed with it.
  assert.equal(raw.socket.readyState, WebSocket.OPEN)
})

interface Refusal {
  status: number | undefined
  code: string
}

async function refusal(url: string, protocols: string[], headers: Record<string, string>): Promise<Refusal> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/tunnel/connect`, protocols, { headers })
  socket.on('error', () => {})
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
  const chunks: Buffer[] = []
  response.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(response, 'close')
  assert.equal(response.headers['content-type'], 'application/problem+json; charset=utf-8')
  const { code } = JSON.parse(Buffer.concat(chunks).toString()) as { code: string }
  return { status: response.statusCode, code }
}

test('an upgrade that cannot be is refused with its reason, and fifty of each reason leave no descriptor', async (t) => {
  const proxy = await startProxy(t)
  const limited = await startProxy(t, { set: ['rateLimit.perIpPerMinute=1'] })
  const crowded = await startProxy(t, { set: ['tiers.enterprise.links=1'] })
  await crowded.connect('alice')
  await limited.api('alice', 'machines')
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
  const expired = proxy.tokenOf('alice', { ttlSeconds: -60 })
  const reasons: [TestProxy, string[], Record<string, string>, number, string][] = [
    // First: its window is a minute, after which one more would be let in.
    [limited, ['tunnel.v1'], bearer(limited.tokenOf('alice')), 429, 'RATE_LIMITED'],
    [proxy, ['tunnel.v1'], {}, 401, 'TOKEN_MISSING'],
    [proxy, ['tunnel.v1'], bearer('a.b.c'), 401, 'TOKEN_INVALID'],
    [proxy, ['tunnel.v1'], bearer(crowded.tokenOf('alice')), 401, 'TOKEN_INVALID'],
    [proxy, ['tunnel.v1'], bearer(expired), 401, 'TOKEN_EXPIRED'],
    [proxy, [], bearer(proxy.tokenOf('alice')), 400, 'VERSION_UNSUPPORTED'],
    [proxy, ['tunnel.v2'], bearer(proxy.tokenOf('alice')), 400, 'VERSION_UNSUPPORTED'],
    [crowded, ['tunnel.v1'], bearer(crowded.tokenOf('alice')), 429, 'TOO_MANY_CONNECTIONS'],
  ]
  const connections = async () => {
    const counts = [proxy, limited, crowded].map(
      ({ app }) => new Promise<number>((resolve) => app.server.getConnections((_, count) => resolve(count))),
    )
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0)
  }
  const descriptors = () => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0)
  for (const [at, protocols, headers, status, code] of reasons) {
    assert.deepEqual(await refusal(at.url, protocols, headers), { status, code })
    await until(async () => (await connections()) === 1)
    const before = descriptors()
    for (let i = 0; i < 50; i += 10) {
      await Promise.all(Array.from({ length: 10 }, () => refusal(at.url, protocols, headers)))
    }
    await until(async () => (await connections()) === 1)
    await until(() => descriptors() <= before)
  }
})

test('a plain GET on a route of links is told what was expected', async (t) => {
  const proxy = await startProxy(t)
  for (const route of ['connect', 'agent']) {
    const answer = await proxy.api('alice', route)
    assert.equal(answer.status, 400)
    assert.equal(((await answer.json()) as { code: string }).code, 'REQUEST_INVALID')
    assert.equal((await proxy.api(undefined, route)).status, 401)
  }
})
