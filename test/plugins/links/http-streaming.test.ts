import assert from 'node:assert/strict'
import test from 'node:test'
import { encodeHead, encodeJson, FrameType, newFrame } from '../../../protocol/codec/frames.ts'
import { framePrefix, padding, RecordReader } from '../../../protocol/link/records.ts'
import { listenTcp, startProxy, type TestProxy, until } from '../../support/proxy.ts'
import type { Scope } from '../../support/scope.ts'
import { helloOf, idOf } from './raw-client.ts'

interface PostOptions {
  session?: string
  token?: string
  offset?: number | string
}

/** A peer over HTTP streaming that may post whatever it likes. */
class RawStream {
  readonly frames: Uint8Array[] = []
  /** The goodbye; 1006 without one. */
  readonly closed: Promise<{ code: number; reason: string }>
  readonly session: string
  /** Node cancels the body of a response that nobody holds. */
  readonly response: Response
  readonly #url: string
  readonly #token: string
  #abort: AbortController

  private constructor(
    url: string,
    token: string,
    response: Response,
    abort: AbortController,
    reads: boolean,
  ) {
    this.#url = url
    this.#token = token
    this.#abort = abort
    this.response = response
    this.session = response.headers.get('tunnel-session') ?? ''
    this.closed = new Promise((resolve) => {
      const ended = { code: 1006, reason: '' }
      const reader = new RecordReader(1_048_576, {
        frame: (frame) => void this.frames.push(frame),
        ended: (told) => Object.assign(ended, told),
      })
      const read = async (): Promise<void> => {
        for await (const chunk of response.body ?? []) reader.read(chunk)
      }
      if (reads)
        read().then(
          () => resolve(ended),
          () => resolve(ended),
        )
    })
  }

  static open(proxy: TestProxy, token: string, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(`${proxy.url}/api/tunnel/connect/stream`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'tunnel-protocol': 'tunnel.v1', ...headers },
    })
  }

  static async begin(scope: Scope, proxy: TestProxy, token: string, reads = true): Promise<RawStream> {
    const url = `${proxy.url}/api/tunnel/connect/stream`
    const abort = new AbortController()
    const headers = { authorization: `Bearer ${token}`, 'tunnel-protocol': 'tunnel.v1' }
    const response = await fetch(url, { method: 'POST', headers, signal: abort.signal })
    assert.equal(response.status, 200)
    const stream = new RawStream(url, token, response, abort, reads)
    scope.after(() => stream.cut())
    return stream
  }

  async post(
    body: Uint8Array | ReadableStream | string,
    { session, token, offset = 0 }: PostOptions = {},
  ): Promise<{ status: number; code?: string }> {
    const headers: Record<string, string> = {
      authorization: `Bearer ${token ?? this.#token}`,
      'tunnel-session': session ?? this.session,
      'tunnel-offset': String(offset),
      'content-type': 'application/octet-stream',
    }
    const init = { method: 'POST', headers, body, duplex: 'half', signal: this.#abort.signal } as RequestInit
    const response = await fetch(`${this.#url}/up`, init)
    if (response.status === 204) return { status: 204 }
    return { status: response.status, code: ((await response.json()) as { code: string }).code }
  }

  cut(): void {
    this.#abort.abort()
  }
}

const record = (frame: Uint8Array): Buffer => Buffer.concat([framePrefix(frame.length), frame])
const HELLO = record(encodeJson(FrameType.HELLO, 0, helloOf()))
const PING = record(newFrame(FrameType.PING, 0, 8))
const isPong = (frame: Uint8Array): boolean => frame[0] === FrameType.PONG

test('posts that come in any order, cut anywhere, twice, are one byte stream', async (t) => {
  const proxy = await startProxy(t)
  const stream = await RawStream.begin(t, proxy, proxy.tokenOf('alice'))
  const bytes = Buffer.concat([HELLO, PING])
  const cuts = [0, 3, 9, HELLO.length + 2, bytes.length]
  const pieces = cuts.slice(1).map((end, index) => ({ offset: cuts[index] as number, end }))
  const sent = [...pieces]
    .reverse()
    .map(({ offset, end }) => stream.post(bytes.subarray(offset, end), { offset }))
  for (const { status } of await Promise.all(sent)) assert.equal(status, 204)
  for (const { offset, end } of pieces)
    assert.deepEqual(await stream.post(bytes.subarray(offset, end), { offset }), { status: 204 })
  // Half of what it says has come before.
  const next = Buffer.concat([bytes.subarray(-4), PING])
  assert.deepEqual(await stream.post(next, { offset: bytes.length - 4 }), { status: 204 })
  await until(() => stream.frames.filter(isPong).length === 2)
  assert.deepEqual(
    stream.frames.map(([type]) => type),
    [FrameType.HELLO, FrameType.PONG, FrameType.PONG],
  )
})

test('a session is found by its secret and by what opened it, and by nothing else', async (t) => {
  const proxy = await startProxy(t)
  const stream = await RawStream.begin(t, proxy, proxy.tokenOf('alice'))
  assert.deepEqual(await stream.post(HELLO), { status: 204 })
  const unknown = { status: 404, code: 'SESSION_UNKNOWN' }
  const offset = HELLO.length
  assert.deepEqual(await stream.post(PING, { offset, token: proxy.tokenOf('mallory') }), unknown)
  assert.deepEqual(await stream.post(PING, { offset, token: 'no token' }), unknown)
  assert.deepEqual(await stream.post(PING, { offset, session: 'A'.repeat(43) }), unknown)
  assert.deepEqual(await stream.post(PING, { offset }), { status: 204 }, 'and its owner goes on')
  await until(() => stream.frames.some(isPong))
  const ids = [stream.session, (await RawStream.begin(t, proxy, proxy.tokenOf('alice'))).session]
  assert.ok(ids.every((id) => Buffer.from(id, 'base64url').length === 32))
  assert.notEqual(ids[0], ids[1])
  assert.ok(!JSON.stringify(proxy.log).includes(stream.session), 'no log has it')
  stream.cut()
  await until(() => proxy.app.links.count === 1)
  const after = await RawStream.begin(t, proxy, proxy.tokenOf('alice'))
  assert.deepEqual(await after.post(PING, { session: stream.session }), unknown)
})

test('what is no post of a link is refused, and bounded: size, number, offset, protocol', async (t) => {
  const proxy = await startProxy(t)
  const stream = await RawStream.begin(t, proxy, proxy.tokenOf('alice'))
  const invalid = { status: 400, code: 'REQUEST_INVALID' }
  for (const offset of ['-1', '1.5', 'x', '', '9'.repeat(30)])
    assert.deepEqual(await stream.post('x', { offset }), invalid, offset)
  assert.deepEqual(await stream.post(padding(131_073 - 4)), invalid)
  const second = await RawStream.begin(t, proxy, proxy.tokenOf('alice'))
  const endless = new ReadableStream({ pull: (controller) => controller.enqueue(padding(4_096)) })
  assert.deepEqual(await second.post(endless).catch(() => invalid), invalid)
  // All wait for bytes that never come.
  const waiting = await RawStream.begin(t, proxy, proxy.tokenOf('alice'))
  const early = Array.from({ length: 8 }, () => waiting.post('x', { offset: 1 }).catch(() => {}))
  const refused = await Promise.all(Array.from({ length: 4 }, () => waiting.post('x', { offset: 1 })))
  assert.ok(refused.every(({ code }) => code === 'RATE_LIMITED'))
  waiting.cut()
  await Promise.all(early)
  const other = await RawStream.open(proxy, proxy.tokenOf('alice'), { 'tunnel-protocol': 'tunnel.v9' })
  assert.equal(((await other.json()) as { code: string }).code, 'VERSION_UNSUPPORTED')
})

test("sessions without a word count as links, and give their places back with their answer's end", async (t) => {
  const proxy = await startProxy(t, { set: ['tiers.enterprise.links=3'] })
  const token = proxy.tokenOf('alice')
  const streams = await Promise.all([1, 2, 3].map(() => RawStream.begin(t, proxy, token)))
  const fourth = await RawStream.open(proxy, token)
  assert.equal(((await fourth.json()) as { code: string }).code, 'TOO_MANY_CONNECTIONS')
  await assert.rejects(proxy.client('alice').connect(), { code: 'TOO_MANY_CONNECTIONS' })
  assert.ok(await proxy.connect('bob'), 'it is hers alone')
  for (const stream of streams) stream.cut()
  await until(() => proxy.app.links.count === 1)
  assert.equal((await RawStream.begin(t, proxy, token)).session.length, 43)
  const stranger = await RawStream.open(proxy, 'no token')
  assert.equal(stranger.status, 401)
})

test('why a link ends is carried: its code and reason, in both directions; one that ends well has no error', async (t) => {
  const proxy = await startProxy(t)
  const wrong = await RawStream.begin(t, proxy, proxy.tokenOf('alice'))
  await wrong.post(record(encodeJson(FrameType.HELLO, 0, helloOf({ role: 'agent', machine: 'x' }))))
  const { code, reason } = await wrong.closed
  assert.equal(code, 4400)
  assert.match(reason, /^FRAME_INVALID: HELLO says agent/)
  const large = await RawStream.begin(t, proxy, proxy.tokenOf('alice'))
  await large.post(Buffer.from([0, 0xff, 0xff, 0xff]))
  assert.equal((await large.closed).code, 1009)
  const client = await proxy.connect('alice', { settings: { network: { transport: 'http' } } })
  await client.disconnect()
  const told = () => proxy.log.filter(({ message }) => message === 'link closed').at(-1)?.context
  await until(() => told() !== undefined && !('code' in (told() ?? {})))
})

test('who does not read holds up no one else, and takes no more memory than a WebSocket may', async (t) => {
  const proxy = await startProxy(t)
  const block = Buffer.alloc(65_536)
  const source = await listenTcp(t, (socket) => {
    const more = (): void => {
      while (!socket.destroyed && socket.write(block));
    }
    socket.on('drain', more).resume()
    more()
  })
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', source, { allow: [echo] })
  const idle = await RawStream.begin(t, proxy, proxy.tokenOf('alice'), false)
  const head = { id: idOf(1), kind: 'ssh', machine: 'home', window: 64 * 1_048_576 }
  await idle.post(Buffer.concat([HELLO, record(encodeHead(FrameType.OPEN, 1, head))]))
  const buffered = () => proxy.metric('tunnel_link_send_buffer_bytes')
  await until(async () => (await buffered()) > 65_536)
  const bystander = await proxy.connect('alice', { settings: { network: { transport: 'http' } } })
  const stream = await bystander.open({ machine: 'home', kind: 'ssh', target: echo })
  for (let round = 0; round < 20; round++) {
    stream.write('x')
    await new Promise((resolve) => stream.once('data', resolve))
    assert.ok((await buffered()) < 1_048_576)
  }
  stream.destroy()
})
