import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore, TunnelError } from '../../../client/index.ts'
import type { TunnelStream } from '../../../protocol/stream/stream.ts'
import { until } from '../../support/proxy.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { clientOf, next, respond, startProxy } from '../proxy.ts'
import { clientWith, high } from './clients.ts'

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
  const clock = new VirtualClock()
  let tries = 0
  let retryAfterMs = 100
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      if (++tries > 6) return respond(stream, 200, 'at last')
      stream.reset(new TunnelError('MACHINE_OFFLINE', 'off line', { hop: 'proxy', retryAfterMs }))
    },
  })
  const tunnel = clientWith(t, proxy.url, new MemoryStore(), { platform: { clock } })
  await tunnel.connect()
  /** Lets time go by until the request has its outcome. */
  const outcome = async <T>(request: Promise<T>): Promise<T> => {
    let isOver = false
    const over = request.finally(() => {
      isOver = true
    })
    over.catch(() => {})
    await until(async () => {
      await clock.run(clock.now() + 50)
      return isOver
    })
    return over
  }
  await assert.rejects(tunnel.forwardRequest(high({ priority: 'low' })), { code: 'MACHINE_OFFLINE' })
  assert.equal((await outcome(tunnel.forwardRequest(high({ timeoutMs: 400 })))).text(), 'at last')
  tries = Number.NEGATIVE_INFINITY
  // It waits for its next try when it expires: while it is on its way its outcome would be unknown.
  retryAfterMs = 60_000
  const expiring = tunnel.forwardRequest(high({ expiresAt: new Date(Date.now() + 5_000) }))
  await assert.rejects(outcome(expiring), { code: 'TIMEOUT' })
})
