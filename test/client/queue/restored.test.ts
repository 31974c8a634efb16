import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { MemoryStore, type RestoredRequest, type SetAside, type TunnelError } from '../../../client/index.ts'
import type { TunnelStream } from '../../../protocol/stream/stream.ts'
import { tempFolder } from '../../support/tree.ts'
import { clientOf, deferred, next, respond, startProxy } from '../proxy.ts'
import { clientWith, high, imageOf, keyOf, onDisk } from './clients.ts'

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

/** A client that gives up soon, and its proxy, which notes what it is asked for. */
async function impatient(t: TestContext, store: MemoryStore) {
  const paths: string[] = []
  const onStream = (stream: TunnelStream) => {
    paths.push(stream.head.http!.path)
    respond(stream, 200)
  }
  const proxy = await startProxy(t, { onStream })
  const settings = { backoff: { baseMs: 1, maxMs: 2, maxAttempts: 3 }, streams: { resumeMs: 100 } }
  const tunnel = clientWith(t, proxy.url, store, { settings })
  await tunnel.connect()
  return { proxy, tunnel, paths, onStream }
}

test('requests wait while the client reconnects; when it gives up they stay on disk, and the next connect() sends them', async (t) => {
  const store = new MemoryStore()
  const { proxy, tunnel, paths, onStream } = await impatient(t, store)
  const { port } = proxy
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

test('a program that connects again as soon as it hears of the end has its requests back, and each once', async (t) => {
  const store = new MemoryStore()
  const entries = store.entries.bind(store)
  let isReadable = Promise.resolve()
  store.entries = async (prefix) => {
    await isReadable
    return entries(prefix)
  }
  const { proxy, tunnel, paths, onStream } = await impatient(t, store)
  const { port } = proxy
  // Until the proxy is there again, so that the dial behind it does not fail.
  const isBack = deferred<void>()
  isReadable = isBack.promise
  const lost = next((listener) => tunnel.once('link-lost', listener))
  await proxy.close()
  await lost
  const again = new Promise<void>((resolve, reject) => {
    const off = tunnel.on('state', (state) => {
      if (state !== 'closed') return
      off()
      tunnel.connect().then(resolve, reject)
    })
  })
  const restored = next<RestoredRequest[]>((listener) => tunnel.once('restored', listener))
  const kept = tunnel.enqueue(high({ path: '/kept' }))
  await assert.rejects(kept.response, { code: 'STILL_QUEUED' })
  await startProxy(t, { onStream }, port)
  isBack.resolve()
  await again
  const [request, ...others] = await restored
  assert.equal(request?.id, kept.id)
  assert.deepEqual(others, [])
  assert.equal((await request.response).status, 200)
  assert.deepEqual(paths, ['/kept'])
})
