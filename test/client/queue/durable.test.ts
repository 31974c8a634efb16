import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import {
  type ForwardRequest,
  MemoryStore,
  type RestoredRequest,
  type SetAside,
  TunnelError,
  type TunnelService,
  type TunnelServiceOptions,
} from '../../../client/index.ts'
import { decodeRecord } from '../../../client/queue/record.ts'
import type { TunnelStream } from '../../../protocol/stream/stream.ts'
import { tempFolder } from '../../support/tree.ts'
import { clientOf, next, respond, startProxy } from '../proxy.ts'
import { HeldStore } from './requests.ts'

/** What the program's disk holds at this moment, as a crash leaves it. */
async function imageOf(store: MemoryStore | HeldStore): Promise<MemoryStore> {
  const image = new MemoryStore()
  await image.write((await store.entries('')).map(([key, value]) => ({ key, value })))
  return image
}
const onDisk = async (store: MemoryStore | HeldStore) => (await store.entries('r!')).length

function clientWith(
  t: TestContext,
  url: string,
  store: MemoryStore | HeldStore,
  more: Partial<TunnelServiceOptions> = {},
): TunnelService {
  return clientOf(t, url, { ...more, queue: { store: async () => store, ...more.queue } })
}

const keyOf = ({ head }: TunnelStream) =>
  head.http?.headers.find(([name]) => name.toLowerCase() === 'idempotency-key')?.[1]
const high = (more: Partial<ForwardRequest> = {}): ForwardRequest => {
  return { machine: 'home', method: 'POST', priority: 'high', ...more }
}

test('a high request is on disk before it is accepted and before it is sent, and goes with its answer', async (t) => {
  const store = new HeldStore(new MemoryStore())
  const seen: string[] = []
  const proxy = await startProxy(t, {
    onStream: async (stream) => {
      seen.push(`sent with ${await onDisk(store)} on disk`)
      respond(stream, 200, 'done')
    },
  })
  const tunnel = clientWith(t, proxy.url, store)
  await tunnel.connect()
  const release = store.hold()
  const queued = tunnel.enqueue(high({ body: 'x' }))
  void queued.accepted.then(() => seen.push('accepted'))
  await tunnel.forwardRequest({ machine: 'home' })
  assert.deepEqual(seen, ['sent with 0 on disk'])
  release()
  assert.equal((await queued.response).text(), 'done')
  assert.deepEqual(seen, ['sent with 0 on disk', 'accepted', 'sent with 1 on disk'])
  await tunnel.disconnect()
  assert.equal(await onDisk(store), 0)
})

test('queue.persist says which requests are kept: those of high priority, all, or none', async (t) => {
  for (const [persist, kept] of [
    ['high', ['/high', '/asked']],
    ['all', ['/high', '/normal', '/low', '/asked']],
    ['none', []],
  ] as const) {
    const store = new MemoryStore()
    const proxy = await startProxy(t, { maxStreams: 1, onStream: () => {} })
    const tunnel = clientWith(t, proxy.url, store, { settings: { queue: { persist } } })
    await tunnel.connect()
    const requests: ForwardRequest[] = [
      ...(['high', 'normal', 'low'] as const).map((priority) => high({ priority, path: `/${priority}` })),
      high({ path: '/unwanted', persist: false }),
      ...(persist === 'none' ? [] : [high({ path: '/asked', priority: 'low', persist: true })]),
    ]
    const queued = requests.map((request) => tunnel.enqueue(request))
    for (const { response } of queued) response.catch(() => {})
    await Promise.all(queued.map(({ accepted }) => accepted))
    const paths = (await store.entries('r!')).map(([, value]) => decodeRecord(value).path)
    assert.deepEqual(paths, kept, persist)
  }
})

test('a program is told when four fifths of its queue are full, and when most of that has gone', async (t) => {
  const held: TunnelStream[] = []
  const proxy = await startProxy(t, { maxStreams: 1, onStream: (stream) => void held.push(stream) })
  const tunnel = clientOf(t, proxy.url, { settings: { queue: { maxRequests: 10 } } })
  const told: string[] = []
  for (const name of ['backpressure', 'drain'] as const)
    tunnel.on(name, ({ waiting, maxRequests }) => told.push(`${name}: ${waiting} of ${maxRequests}`))
  await tunnel.connect()
  // One goes at once.
  const eleven = Array.from({ length: 11 }, () => tunnel.enqueue({ machine: 'home' }))
  await Promise.all(eleven.map(({ accepted }) => accepted))
  assert.deepEqual(told, ['backpressure: 8 of 10'])
  await assert.rejects(tunnel.forwardRequest({ machine: 'home' }), { code: 'QUEUE_FULL' })
  for (const { response } of eleven) {
    while (held.length === 0) await new Promise(setImmediate)
    respond(held.shift()!, 204)
    await response
  }
  assert.deepEqual(told, ['backpressure: 8 of 10', 'drain: 4 of 10'])
})

test('the time of a request that is not on disk goes on while there is no link, and its signal holds too', async (t) => {
  const proxy = await startProxy(t, { onStream: () => {} })
  const tunnel = clientOf(t, proxy.url, { settings: { backoff: { baseMs: 60_000 } } })
  await tunnel.connect()
  const lost = next((listener) => tunnel.once('link-lost', listener))
  await proxy.close()
  await lost
  const abort = new AbortController()
  const late = tunnel.forwardRequest({ machine: 'home', timeoutMs: 20 })
  const called = tunnel.forwardRequest({ machine: 'home', signal: abort.signal })
  await assert.rejects(late, { code: 'TIMEOUT' })
  abort.abort()
  await assert.rejects(called, { code: 'ABORTED' })
  assert.equal(tunnel.state, 'reconnecting')
})

test('after a crash what was never sent is sent in order, and what may have been executed is not sent twice', async (t) => {
  const store = new MemoryStore()
  const sent: [string, string | undefined][] = []
  let isAnswering = false
  const arrived = { resolve: () => {} }
  const proxy = await startProxy(t, {
    maxStreams: 2,
    onStream: (stream) => {
      sent.push([stream.head.http!.path, keyOf(stream)])
      if (isAnswering) respond(stream, 200, stream.head.http!.path)
      if (sent.length === 2) arrived.resolve()
    },
  })
  const before = clientWith(t, proxy.url, store)
  await before.connect()
  const both = new Promise<void>((resolve) => {
    arrived.resolve = resolve
  })
  const paths = ['/once', '/again', '/first', '/second']
  const requests = paths.map((path) =>
    before.enqueue(high({ path, idempotent: path === '/again', body: path })),
  )
  for (const { response } of requests) response.catch(() => {})
  await Promise.all([both, ...requests.map(({ accepted }) => accepted)])

  const image = await imageOf(store)
  await before.disconnect(0)
  const [, firstKey] = sent.splice(0)[1]!
  isAnswering = true
  const after = clientWith(t, proxy.url, image)
  const told = next<RestoredRequest[]>((listener) => after.once('restored', listener))
  await after.connect()
  const restored = await told
  assert.deepEqual(
    restored.map(({ request: { path } }) => path),
    paths,
  )
  assert.deepEqual(
    restored.map(({ id }) => id),
    requests.map(({ id }) => id),
  )
  const [once, ...others] = await Promise.allSettled(restored.map(({ response }) => response))
  assert.equal((once as PromiseRejectedResult).reason.code, 'OUTCOME_UNKNOWN')
  assert.deepEqual(
    others.map((each) => (each as PromiseFulfilledResult<{ text(): string }>).value.text()),
    paths.slice(1),
  )
  assert.deepEqual(sent, [
    ['/again', firstKey],
    ['/first', undefined],
    ['/second', undefined],
  ])
  assert.match(firstKey ?? '', /^"[-0-9a-f]{36}"$/)
  await after.disconnect()
  assert.equal(await onDisk(image), 0)
})

test('requests wait while the client reconnects; when it gives up they stay on disk, and the next connect() sends them', async (t) => {
  const store = new MemoryStore()
  const paths: string[] = []
  const onStream = (stream: TunnelStream) => {
    paths.push(stream.head.http!.path)
    respond(stream, 200)
  }
  const proxy = await startProxy(t, { onStream })
  const { port } = proxy
  const settings = { backoff: { baseMs: 1, maxMs: 2, maxAttempts: 3 }, streams: { resumeMs: 100 } }
  const tunnel = clientWith(t, proxy.url, store, { settings })
  await tunnel.connect()
  const lost = next((listener) => tunnel.once('link-lost', listener))
  await proxy.close()
  await lost
  const kept = ['/1', '/2', '/3'].map((path) => tunnel.enqueue(high({ path })))
  const other = tunnel.forwardRequest({ machine: 'home' })
  const ends = await Promise.allSettled([...kept.map(({ response }) => response), other])
  const codes = ends.map((end) => (end as PromiseRejectedResult).reason.code as string)
  assert.deepEqual(codes.slice(0, 3), Array(3).fill('STILL_QUEUED'))
  assert.match(codes[3] ?? '', /CONNECT_REFUSED|LINK_LOST/)
  assert.equal(tunnel.state, 'closed')
  await assert.rejects(tunnel.forwardRequest(high()), { code: 'LINK_LOST' })
  assert.equal(await onDisk(store), 3)

  await startProxy(t, { onStream }, port)
  const told = next<RestoredRequest[]>((listener) => tunnel.once('restored', listener))
  await tunnel.connect()
  await Promise.all((await told).map(({ response }) => response))
  assert.deepEqual(paths, ['/1', '/2', '/3'])
})

test('no credential is ever on disk, and a request that had one is sent again only with it', async (t) => {
  const store = new MemoryStore()
  const seen: unknown[] = []
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      seen.push(Object.fromEntries(stream.head.http!.headers))
      if (seen.length > 1) respond(stream, 200)
    },
  })
  const before = clientWith(t, proxy.url, store)
  await before.connect()
  const headers = { Authorization: 'Bearer secret-1', Cookie: 'secret-2', 'X-A': 'public' }
  const queued = before.enqueue(high({ method: 'PUT', headers }))
  queued.response.catch(() => {})
  await queued.accepted
  const image = await imageOf(store)
  await before.disconnect(0)
  const text = (await image.entries('')).map(([, value]) => new TextDecoder().decode(value)).join()
  assert.match(text, /public/)
  assert.doesNotMatch(text, /secret/)
  assert.deepEqual(seen, [{ ...headers, 'content-length': '0' }])

  const without = clientWith(t, proxy.url, image)
  const restoredWithout = next<RestoredRequest[]>((listener) => without.once('restored', listener))
  await without.connect()
  await assert.rejects((await restoredWithout)[0]!.response, { code: 'STILL_QUEUED' })
  await without.disconnect()
  assert.equal(await onDisk(image), 1)

  const credentials = async (_request: unknown, names: readonly string[]) =>
    Object.fromEntries(names.map((name) => [name, 'fresh']))
  const after = clientWith(t, proxy.url, image, { queue: { credentials } })
  const restored = next<RestoredRequest[]>((listener) => after.once('restored', listener))
  await after.connect()
  assert.equal((await (await restored)[0]!.response).status, 200)
  assert.deepEqual(seen[1], {
    'X-A': 'public',
    authorization: 'fresh',
    cookie: 'fresh',
    'content-length': '0',
  })
})

test('while the disk is full a request is refused, one that is accepted waits to be sent, and both go on after', async (t) => {
  const store = new HeldStore(new MemoryStore())
  const paths: string[] = []
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      paths.push(stream.head.http!.path)
      respond(stream, 200)
    },
  })
  const tunnel = clientWith(t, proxy.url, store)
  await tunnel.connect()
  const full = new TunnelError('STORE_FAILED', 'no space left on device', { hop: 'client' })
  const first = tunnel.enqueue(high({ path: '/accepted' }))
  // Between its acceptance and its mark.
  void first.accepted.then(() => {
    store.failWith = full
  })
  await first.accepted
  await assert.rejects(tunnel.forwardRequest(high({ path: '/refused' })), {
    code: 'STORE_FAILED',
  })
  await tunnel.forwardRequest({ machine: 'home', path: '/not-kept' })
  assert.deepEqual(paths, ['/not-kept'])
  store.failWith = undefined
  await first.response
  assert.deepEqual(paths, ['/not-kept', '/accepted'])
  await tunnel.disconnect()
  assert.equal(await onDisk(store), 0)
})

test('a second program on the folder is told so, and hands its requests over to the first', async (t) => {
  const dir = await tempFolder(t, 'queue')
  const bodies: string[] = []
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      bodies.push(stream.head.http!.path)
      respond(stream, 200, 'answered')
    },
  })
  const settings = { queue: { dir } }
  const encryptionKey = new Uint8Array(32).fill(7)
  const options = { settings, queue: { encryptionKey } }
  const owner = clientOf(t, proxy.url, options)
  await owner.connect()
  const second = clientOf(t, proxy.url, options)
  const told = next<TunnelError>((listener) => second.once('error', listener))
  await second.connect()
  assert.equal((await told).code, 'QUEUE_LOCKED')
  await assert.rejects(second.forwardRequest(high()), { code: 'QUEUE_LOCKED' })
  // What is not kept needs no folder.
  assert.equal((await second.forwardRequest({ machine: 'home', path: '/own' })).text(), 'answered')
  const restored = next<RestoredRequest[]>((listener) => owner.once('restored', listener))
  await second.handOver(high({ path: '/handed', idempotencyKey: 'mine' }))
  const [request] = await restored
  assert.equal(request?.id, 'mine')
  assert.equal((await request!.response).text(), 'answered')
  assert.deepEqual(bodies, ['/own', '/handed'])
  // What somebody else has put there is no request: it is kept, and told of.
  const aside = next<SetAside[]>((listener) => owner.once('set-aside', listener))
  await writeFile(join(dir, 'spool', '0-stranger.request'), 'rubbish')
  assert.match((await aside)[0]?.key ?? '', /0-stranger$/)

  // Nobody has the folder: what is handed over waits in it for who comes, and now the second may have it.
  await owner.disconnect()
  const third = clientOf(t, proxy.url, options)
  await third.handOver(high({ path: '/later' }))
  const later = next<RestoredRequest[]>((listener) => second.once('restored', listener))
  assert.equal((await second.forwardRequest(high({ path: '/high' }))).text(), 'answered')
  await (await later)[0]!.response
  assert.deepEqual(bodies.slice(2).sort(), ['/high', '/later'])
})

test('disconnect puts what it could not send on disk, whatever its priority, and says so', async (t) => {
  const store = new MemoryStore()
  const proxy = await startProxy(t, { maxStreams: 1, onStream: () => {} })
  const tunnel = clientWith(t, proxy.url, store)
  await tunnel.connect()
  const ends = (['high', 'normal', 'low'] as const).map((priority) =>
    tunnel.forwardRequest(high({ priority, path: `/${priority}` })),
  )
  const unwanted = tunnel.forwardRequest(high({ priority: 'low', persist: false }))
  // The one that is under way may have been executed.
  const all = Promise.allSettled([...ends, unwanted])
  await next((resolve) => void setImmediate(resolve))
  while (tunnel.link === undefined || (await onDisk(store)) < 1)
    await next((resolve) => void setImmediate(resolve))
  await tunnel.disconnect(20)
  const codes = (await all).map((end) => (end as PromiseRejectedResult).reason.code as string)
  assert.deepEqual(codes.sort(), ['ABORTED', 'OUTCOME_UNKNOWN', 'STILL_QUEUED', 'STILL_QUEUED'])
  assert.equal(await onDisk(store), 2)
})

test('a failure that nobody asks for is told by the event error, and one that is asked for is not', async (t) => {
  const proxy = await startProxy(t, {
    onStream: (stream) =>
      stream.reset(new TunnelError('MACHINE_UNKNOWN', `no ${stream.head.http!.path}`, { hop: 'proxy' })),
  })
  const tunnel = clientWith(t, proxy.url, new MemoryStore())
  await tunnel.connect()
  const told: string[] = []
  tunnel.on('error', ({ message }) => told.push(message))
  await assert.rejects(tunnel.enqueue(high({ path: '/asked' })).response, { code: 'MACHINE_UNKNOWN' })
  const error = next<TunnelError>((listener) => tunnel.once('error', listener))
  tunnel.enqueue(high({ path: '/forgotten' }))
  await error
  assert.deepEqual(told, ['no /forgotten'])
})

test('a request that is on disk outlives a machine that is off line and any time-out of its wait, but not what it expires at', async (t) => {
  let tries = 0
  let retryAfterMs = 100
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      if (++tries > 6) return respond(stream, 200, 'at last')
      stream.reset(new TunnelError('MACHINE_OFFLINE', 'off line', { hop: 'proxy', retryAfterMs }))
    },
  })
  const tunnel = clientWith(t, proxy.url, new MemoryStore())
  await tunnel.connect()
  await assert.rejects(tunnel.forwardRequest(high({ priority: 'low' })), { code: 'MACHINE_OFFLINE' })
  assert.equal((await tunnel.forwardRequest(high({ timeoutMs: 400 }))).text(), 'at last')
  tries = Number.NEGATIVE_INFINITY
  // It waits for its next try when it expires: while it is on its way its outcome would be unknown.
  retryAfterMs = 60_000
  await assert.rejects(tunnel.forwardRequest(high({ expiresAt: new Date(Date.now() + 1_000) })), {
    code: 'TIMEOUT',
  })
})

test('whoever cancels a restored request, or aborts one that waits, takes it off the disk', async (t) => {
  const store = new MemoryStore()
  const proxy = await startProxy(t, { maxStreams: 1, onStream: () => {} })
  const before = clientWith(t, proxy.url, store)
  await before.connect()
  const held = before.enqueue(high({ method: 'GET' }))
  const abort = new AbortController()
  const waiting = before.enqueue(high({ signal: abort.signal }))
  held.response.catch(() => {})
  await Promise.all([held.accepted, waiting.accepted])
  abort.abort()
  await assert.rejects(waiting.response, { code: 'ABORTED' })
  await before.disconnect(0)
  assert.equal(await onDisk(store), 1)
  const after = clientWith(t, proxy.url, store)
  const told = next<RestoredRequest[]>((listener) => after.once('restored', listener))
  await after.connect()
  const [restored] = await told
  restored!.cancel()
  await assert.rejects(restored!.response, { code: 'ABORTED' })
  await after.disconnect(0)
  assert.equal(await onDisk(store), 0)
})

test('what cannot be kept is said at once', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 200, 'ok') })
  const tunnel = clientWith(t, proxy.url, new MemoryStore(), { settings: { queue: { maxBytes: 1_000 } } })
  await tunnel.connect()
  async function* stream() {
    yield 'x'
  }
  await assert.rejects(tunnel.forwardRequest(high({ persist: true, body: stream() })), {
    code: 'CONFIG_INVALID',
    message: /stream/,
  })
  // Without being asked for, a stream is sent and not kept.
  assert.equal((await tunnel.forwardRequest(high({ body: stream() }))).text(), 'ok')
  const [locked, read] = [new Blob(['x']).stream(), new Blob(['x']).stream()]
  locked.getReader()
  const reader = read.getReader()
  await reader.read()
  reader.releaseLock()
  const ended = Readable.from(['x'])
  await text(ended)
  for (const body of [locked, read, ended])
    await assert.rejects(tunnel.forwardRequest(high({ body })), {
      code: 'CONFIG_INVALID',
      message: /read already/,
    })
  await assert.rejects(tunnel.forwardRequest(high({ priority: 'urgent' as never })), {
    code: 'CONFIG_INVALID',
  })
  await assert.rejects(tunnel.forwardRequest(high({ expiresAt: new Date('never') })), {
    code: 'CONFIG_INVALID',
  })
  const nowhere = clientOf(t, proxy.url)
  await nowhere.connect()
  await assert.rejects(nowhere.forwardRequest(high({ persist: true })), {
    code: 'CONFIG_INVALID',
    message: /queue.dir/,
  })
  await assert.rejects(nowhere.handOver(high()), { code: 'CONFIG_INVALID' })
  const file = clientOf(t, proxy.url, { settings: { queue: { dir: process.execPath } } })
  await assert.rejects(file.connect(), { code: 'STORE_FAILED', message: new RegExp(process.execPath) })
  const wrong = clientWith(t, proxy.url, new MemoryStore(), { queue: { encryptionKey: new Uint8Array(3) } })
  await assert.rejects(wrong.connect(), { code: 'CONFIG_INVALID', message: /32 bytes/ })
})
