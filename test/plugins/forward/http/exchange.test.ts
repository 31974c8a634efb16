import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import { HttpOrigins } from '../../../../plugins/forward/http/origins.ts'
import { PacedStream } from '../../../../plugins/forward/paced-stream.ts'
import type { ServeContext } from '../../../../plugins/forward/serve.ts'
import { TunnelError } from '../../../../protocol/codec/errors.ts'
import type { AcceptHead, HeaderList } from '../../../../protocol/codec/heads.ts'
import type { ByteStream, StreamState } from '../../../../protocol/stream/byte-stream.ts'
import type { StreamHandlers } from '../../../../protocol/stream/event-buffer.ts'
import { Pace } from '../../../../protocol/stream/pace.ts'
import { VirtualClock } from '../../../support/virtual-clock.ts'
import { webService } from '../rig.ts'
import { places } from './places.ts'

/** A request that came by no tunnel, as a gateway makes one. */
class GatewayRequest implements ByteStream {
  readonly id = '0'.repeat(32)
  readonly head: ByteStream['head']
  state: StreamState = 'opening'
  handlers: StreamHandlers = {}
  accepted: Partial<AcceptHead> | undefined
  readonly written: Buffer[] = []
  error: TunnelError | undefined
  /** Whether more may be written. */
  takes = true
  readonly closed: Promise<void>
  #settle: () => void = () => {}

  constructor(target: string, path: string, method = 'GET', headers: HeaderList = []) {
    const http = { method, path, headers }
    this.head = { id: this.id, kind: 'http', machine: 'home', target, window: 0, http } as never
    this.closed = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  handle(handlers: StreamHandlers): void {
    this.handlers = handlers
    handlers.ended?.()
  }
  accept(head: Partial<AcceptHead> = {}, first?: Uint8Array, end = false): void {
    this.state = 'open'
    this.accepted = head
    if (first !== undefined) this.written.push(Buffer.from(first))
    if (end) this.end()
  }
  write(bytes: Uint8Array): boolean {
    this.written.push(Buffer.from(bytes))
    return this.takes
  }
  writeAux(): boolean {
    return true
  }
  whenFramed(callback: () => void): void {
    callback()
  }
  event(): void {}
  end(): void {
    this.#finish(undefined)
  }
  consumed(): void {}
  reset(error: TunnelError): void {
    this.#finish(error)
  }
  get text(): string {
    return Buffer.concat(this.written).toString()
  }
  #finish(error: TunnelError | undefined): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.error = error
    this.handlers.closed?.(error)
    this.#settle()
  }
}

/** One whose body is still to come. */
class Upload extends GatewayRequest {
  override handle(handlers: StreamHandlers): void {
    this.handlers = handlers
  }
}

test('a request that came by no tunnel is served as one that did', async (t) => {
  const { context, held, bytes } = places(t)
  const origins = new HttpOrigins(() => 0)
  const target = await webService(t, (incoming, outgoing) => outgoing.end(`you asked for ${incoming.url}`))
  for (const path of ['/one', '/two']) {
    const request = new GatewayRequest(target, path)
    await origins.serve(request, context(target))
    assert.deepEqual([request.accepted?.http?.status, request.text], [200, `you asked for ${path}`])
    assert.equal(request.error, undefined)
  }
  assert.equal(held(), 1)
  assert.equal(bytes.out, 2 * 'you asked for /one'.length)
})

test('a request whose client is gone offers its place after a while, and keeps it when the client is back', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { context, held, offers } = places(t)
  const origins = new HttpOrigins(() => 0)
  const target = await webService(t, (_incoming, outgoing) => void outgoing.write('begun'))
  const begun = async (): Promise<GatewayRequest> => {
    const request = new GatewayRequest(target, '/')
    void origins.serve(request, context(target))
    while (request.text !== 'begun') await new Promise(setImmediate)
    return request
  }
  const [gone, back] = [await begun(), await begun()]
  for (const request of [gone, back]) request.handlers.suspended?.()
  t.mock.timers.tick(1_000)
  assert.equal(offers.size, 0)
  back.handlers.resumed?.(0)
  t.mock.timers.tick(10_000)
  assert.equal(offers.size, 1)
  // Somebody else waits.
  for (const giveBack of offers) giveBack()
  await gone.closed
  assert.deepEqual([gone.error?.code, back.error, held()], ['POOL_EXHAUSTED', undefined, 1])
  back.handlers.suspended?.()
  t.mock.timers.tick(10_000)
  assert.equal(offers.size, 1)
  back.handlers.resumed?.(0)
  assert.equal(offers.size, 0)
  back.reset(new TunnelError('ABORTED', 'enough', { hop: 'proxy' }))
  assert.equal(held(), 0)
})

test('a POST whose place is taken after it was sent may have been executed, and says so', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { context, offers } = places(t)
  const origins = new HttpOrigins(() => 0)
  const arrived: string[] = []
  const target = await webService(t, (incoming) => void arrived.push(incoming.method ?? ''))
  const request = new GatewayRequest(target, '/', 'POST')
  void origins.serve(request, context(target))
  while (arrived.length === 0) await new Promise(setImmediate)
  request.handlers.suspended?.()
  t.mock.timers.tick(10_000)
  for (const giveBack of offers) giveBack()
  await request.closed
  assert.equal(request.error?.code, 'OUTCOME_UNKNOWN')
})

test('the SSH connection is lost under a request: one that must not be repeated may have been executed', async (t) => {
  const { context } = places(t)
  const arrived: string[] = []
  const target = await webService(t, (incoming) => void arrived.push(incoming.method ?? ''))
  for (const [method, code] of [
    ['GET', 'AGENT_LOST'],
    ['POST', 'OUTCOME_UNKNOWN'],
  ] as const) {
    let lose = (): void => {}
    const losing: ServeContext = {
      ...context(target),
      async acquire(signal) {
        const lease = await context(target).acquire(signal)
        const { connection } = lease
        const openTcp: typeof connection.openTcp = async (...args) => {
          const channel = await connection.openTcp(...args)
          lose = () => channel.destroy(new TunnelError('AGENT_LOST', 'it was lost', { hop: 'ssh' }))
          return channel
        }
        return { ...lease, connection: { openTcp } } as never
      },
    }
    const request = new GatewayRequest(target, '/', method)
    void new HttpOrigins(() => 0).serve(request, losing)
    while (!arrived.includes(method)) await new Promise(setImmediate)
    lose()
    await request.closed
    assert.equal(request.error?.code, code)
  }
})

test('a request that waits for a place asks for none while its client is gone', async (t) => {
  const { context } = places(t)
  const origins = new HttpOrigins(() => 0)
  const target = await webService(t, (_incoming, outgoing) => outgoing.end('answer'))
  const asked: AbortSignal[] = []
  let grant: (() => void) | undefined
  const slow: ServeContext = {
    ...context(target),
    acquire: (signal) => {
      asked.push(signal)
      return new Promise((resolve, reject) => {
        signal.addEventListener('abort', () =>
          reject(new TunnelError('ABORTED', 'the wait was given up', { hop: 'proxy' })),
        )
        grant = () => resolve(context(target).acquire(signal))
      })
    },
  }
  const request = new GatewayRequest(target, '/')
  const served = origins.serve(request, slow)
  assert.deepEqual([asked.length, origins.waiting().normal], [1, 1])
  request.handlers.suspended?.()
  assert.deepEqual([asked[0]?.aborted, origins.waiting().normal], [true, 0])
  request.handlers.resumed?.(0)
  assert.equal(origins.waiting().normal, 1)
  while (asked.length < 2) await new Promise(setImmediate)
  grant?.()
  await served
  assert.equal(request.error, undefined)
  assert.equal(request.text, 'answer')
})

test('a shutdown tells the requests that are under way, and those that come', async (t) => {
  const { context, held } = places(t)
  const origins = new HttpOrigins(() => 0)
  const target = await webService(t, (_incoming, outgoing) => void outgoing.write('begun'))
  const request = new GatewayRequest(target, '/')
  const served = origins.serve(request, context(target))
  while (request.text !== 'begun') await new Promise(setImmediate)
  origins.close(new TunnelError('SHUTTING_DOWN', 'the proxy is shutting down', { hop: 'proxy' }))
  await served
  assert.equal(request.error?.code, 'SHUTTING_DOWN')
  assert.equal(held(), 0)
})

test('an error of our own in the middle of an answer costs that request alone', async (t) => {
  const { context, errors, held } = places(t)
  const origins = new HttpOrigins(() => 0)
  let goOn: () => void = () => {}
  const target = await webService(t, (_incoming, outgoing) => {
    outgoing.write('begun')
    goOn = () => outgoing.write('more')
  })
  const request = new GatewayRequest(target, '/')
  request.write = () => {
    throw new RangeError('a defect')
  }
  const serving = origins.serve(request, context(target))
  while (request.text !== 'begun') await new Promise(setImmediate)
  goOn()
  await serving
  assert.equal(request.error?.code, 'INTERNAL')
  // The passage logs it, with the stack of the defect.
  assert.ok(request.error?.cause instanceof RangeError)
  assert.equal(errors.length, 0)
  assert.equal(held(), 0)
})

test('an upload that stops moving ends by who stopped: its caller, or the service that does not answer', async (t) => {
  const { context, held } = places(t)
  const origins = new HttpOrigins(() => 0)
  let arrived = ''
  const target = await webService(t, (incoming) => incoming.on('data', (bytes) => (arrived += String(bytes))))
  const clock = new VirtualClock()
  const pass = (ms: number): Promise<void> => clock.run(clock.now() + ms)
  const upload = async (): Promise<{ request: Upload; say(text: string): Promise<void> }> => {
    const request = new Upload(target, '/', 'POST')
    void origins.serve(request, { ...context(target), clock })
    const say = async (text: string): Promise<void> => {
      arrived = ''
      request.handlers.data?.(Buffer.from(text))
      while (arrived !== text) await new Promise(setImmediate)
    }
    await say('begun')
    return { request, say }
  }
  const told = ({ error }: Upload): unknown[] => [error?.code, error?.hop, error?.message]
  const byCaller = ['TIMEOUT', 'client', "the caller sent no more of the request's body within 60000 ms"]

  const slow = await upload()
  for (let piece = 0; piece < 3; piece++) {
    await pass(59_999)
    await slow.say(`piece ${piece}`)
  }
  slow.request.handlers.suspended?.()
  await pass(600_000)
  slow.request.handlers.resumed?.(0)
  await pass(59_999)
  assert.equal(slow.request.error, undefined)
  await pass(1)
  assert.deepEqual(told(slow.request), byCaller)

  const unanswered = await upload()
  unanswered.request.handlers.ended?.()
  await pass(29_999)
  assert.equal(unanswered.request.error, undefined)
  await pass(1)
  assert.deepEqual(told(unanswered.request), [
    'TIMEOUT',
    'target',
    `${target} sent no response within 30000 ms`,
  ])

  const undecided = new Upload(target, '/')
  void origins.serve(undecided, { ...context(target), clock })
  await pass(60_000)
  assert.deepEqual(told(undecided), byCaller)
  assert.deepEqual([held(), clock.pending], [0, 0])
})

test('a response that stops half-way ends after a time without a byte, but not while its caller takes nothing', async (t) => {
  const { context, held } = places(t)
  const origins = new HttpOrigins(() => 0)
  const outgoing: ServerResponse[] = []
  const target = await webService(t, (_incoming, response) => {
    response.write('begun')
    outgoing.push(response)
  })
  const clock = new VirtualClock()
  const pass = (ms: number): Promise<void> => clock.run(clock.now() + ms)
  const request = new GatewayRequest(target, '/')
  void origins.serve(request, { ...context(target), clock })
  const arrived = async (text: string): Promise<void> => {
    while (!Buffer.concat(request.written).toString().endsWith(text)) await new Promise(setImmediate)
  }
  await arrived('begun')
  for (let piece = 0; piece < 3; piece++) {
    await pass(3_599_999)
    outgoing[0]?.write(`piece ${piece}`)
    await arrived(`piece ${piece}`)
  }
  request.takes = false
  outgoing[0]?.write('full')
  await arrived('full')
  await pass(86_400_000)
  request.takes = true
  request.handlers.drained?.()
  await pass(3_599_999)
  assert.equal(request.error, undefined)
  await pass(1)
  const { code, hop, message } = request.error!
  assert.deepEqual(
    [code, hop, message],
    ['TIMEOUT', 'target', `${target} sent no more of its response within 3600000 ms`],
  )
  await request.closed
  assert.deepEqual([held(), clock.pending], [0, 0])
})

test('an upload that the pace of its user holds back is none that its caller has stopped', async (t) => {
  const { context, held } = places(t)
  const origins = new HttpOrigins(() => 0)
  let arrivedBytes = 0
  const target = await webService(t, (incoming) =>
    incoming.on('data', (bytes: Buffer) => {
      arrivedBytes += bytes.length
    }),
  )
  const clock = new VirtualClock()
  const pass = (ms: number): Promise<void> => clock.run(clock.now() + ms)
  const pace = new Pace(clock, 1)
  const request = new Upload(target, '/', 'POST')
  const carried = (_direction: string, byteCount: number): void => pace.spend(byteCount)
  void origins.serve(new PacedStream(request, pace), { ...context(target), clock, carried })
  request.handlers.data?.(Buffer.alloc(200))
  while (arrivedBytes < 200) await new Promise(setImmediate)
  const ended = () => request.error
  // Another of the user's streams adds to what is owed.
  await pass(100_000)
  pace.spend(50)
  await pass(149_999)
  assert.equal(ended(), undefined)
  await pass(60_000)
  assert.equal(ended(), undefined)
  await pass(1)
  assert.deepEqual([ended()?.code, ended()?.hop], ['TIMEOUT', 'client'])
  assert.deepEqual([held(), clock.pending], [0, 0])
})
