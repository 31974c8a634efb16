import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { type ForwardRequest, MemoryStore, type RestoredRequest, TunnelError } from '../../../client/index.ts'
import { decodeRecord } from '../../../client/queue/record.ts'
import type { QueueStore } from '../../../client/queue/store.ts'
import { clientOf, deferred, next, respond, startProxy } from '../proxy.ts'
import { clientWith, high, onDisk } from './clients.ts'
import { HeldStore } from './requests.ts'

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

test('one that waits for its next try when the client disconnects stays on disk, and is sent at the next start', async (t) => {
  for (const idempotent of [true, false]) {
    const store = new MemoryStore()
    const refused = deferred<void>()
    const offline = new TunnelError('MACHINE_OFFLINE', 'not on line', { hop: 'proxy', retryAfterMs: 60_000 })
    const away = await startProxy(t, {
      onStream: (stream) => {
        stream.reset(offline)
        refused.resolve()
      },
    })
    const tunnel = clientWith(t, away.url, store)
    const over = new Promise((resolve) => tunnel.addHook('onResponse', resolve))
    await tunnel.connect()
    const { response } = tunnel.enqueue(high({ idempotent, path: '/later' }))
    const queued = assert.rejects(response, { code: 'STILL_QUEUED' })
    await refused.promise
    // Its refusal has come when another's, sent behind it, is there.
    await assert.rejects(tunnel.forwardRequest({ machine: 'home' }), { code: 'MACHINE_OFFLINE' })
    await Promise.all([queued, over, tunnel.disconnect(0)])
    assert.equal(await onDisk(store), 1)

    const there = await startProxy(t, { onStream: (stream) => respond(stream, 200, 'done') })
    const again = clientWith(t, there.url, store)
    const restored = next<RestoredRequest[]>((listener) => again.once('restored', listener))
    await again.connect()
    const [request] = await restored
    assert.equal(request?.request.path, '/later')
    assert.equal((await request.response).text(), 'done')
    await again.disconnect()
    assert.equal(await onDisk(store), 0)
  }
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

test('what was asked for before disconnect goes on disk, though the store is only being opened', async (t) => {
  const store = new MemoryStore()
  const opening = deferred<void>()
  const opened = deferred<QueueStore>()
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 200) })
  const tunnel = clientOf(t, proxy.url, {
    queue: {
      store: () => {
        opening.resolve()
        return opened.promise
      },
    },
  })
  const connected = assert.rejects(tunnel.connect(), { code: 'ABORTED' })
  const bodies = ['text', new Blob(['blob'])]
  const ends = bodies.map((body) =>
    assert.rejects(tunnel.forwardRequest(high({ body })), { code: 'STILL_QUEUED' }),
  )
  await opening.promise
  const disconnected = tunnel.disconnect(0)
  opened.resolve(store)
  await Promise.all([connected, disconnected, ...ends])
  assert.equal(await onDisk(store), 2)
})

test('when the store cannot be opened, what waits for the connection is told why, and at once', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 200) })
  const opened = deferred<never>()
  const failing = new Error('no such disk')
  const store = () =>
    opened.promise.then(() => {
      throw failing
    })
  const tunnel = clientOf(t, proxy.url, { queue: { store } })
  const why = { code: 'STORE_FAILED', message: /no such disk/ }
  // For longer than a test may take.
  const timeoutMs = 3_600_000
  const all = [
    assert.rejects(tunnel.connect(), why),
    assert.rejects(tunnel.forwardRequest({ machine: 'home', timeoutMs }), why),
    assert.rejects(tunnel.forwardRequest(high({ timeoutMs })), why),
    assert.rejects(tunnel.exec('home', 'true', { timeoutMs }), why),
  ]
  while (tunnel.metrics.snapshot().queue.normal < 2) await next((resolve) => void setImmediate(resolve))
  opened.resolve(undefined as never)
  await Promise.all(all)
})
