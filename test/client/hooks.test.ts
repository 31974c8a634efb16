import assert from 'node:assert/strict'
import test from 'node:test'
import { Hooks, type RequestContext } from '../../client/hooks.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { clientOf, respond, startProxy } from './proxy.ts'

test('hooks run in order; what one throws ends its request alone, and what it changes is sent', async (t) => {
  const sent: string[] = []
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      sent.push(stream.head.http?.headers.map(([name, value]) => `${name}=${value}`).join() ?? '')
      respond(stream, 204)
    },
  })
  const tunnel = clientOf(t, proxy.url)
  const order: string[] = []
  tunnel.addHook('onStateChange', async ({ state }) => {
    await new Promise(setImmediate)
    order.push(state)
  })
  tunnel.addHook('onRequest', async (request) => {
    await new Promise(setImmediate)
    order.push('first')
    request.headers = [...request.headers, ['x-first', '1']]
  })
  const off = tunnel.addHook('onRequest', ({ path, headers }) => {
    order.push('second')
    if (path === '/no') throw new TunnelError('FORBIDDEN', 'not this one', { hop: 'client' })
    if (path === '/bad') headers.push(['no name', ''])
  })
  const ended: (string | number | undefined)[] = []
  tunnel.addHook('onResponse', ({ status, error }) => void ended.push(status ?? error?.code))
  await tunnel.connect()
  const [fine, refused, bad] = await Promise.allSettled(
    ['/', '/no', '/bad'].map((path) => tunnel.forwardRequest({ machine: 'home', path })),
  )
  assert.equal(fine?.status, 'fulfilled')
  assert.deepEqual(sent, ['x-first=1'])
  assert.equal((refused as PromiseRejectedResult).reason.code, 'FORBIDDEN')
  assert.equal((bad as PromiseRejectedResult).reason.code, 'CONFIG_INVALID')
  off()
  await tunnel.forwardRequest({ machine: 'home', path: '/no' })
  await new Promise(setImmediate)
  assert.deepEqual(new Set(ended), new Set([204, 'FORBIDDEN', 'CONFIG_INVALID']))
  assert.deepEqual(order.slice(0, 2), ['connecting', 'connected'])
  assert.deepEqual(order.slice(-1), ['first'])
  assert.throws(() => tunnel.addHook('onNothing' as 'onRequest', () => {}), { code: 'CONFIG_INVALID' })
})

test('a hook that never ends costs its request five seconds, and one that nothing waits for costs nothing', async () => {
  const clock = new VirtualClock()
  const told: TunnelError[] = []
  const hooks = new Hooks(clock, (error) => told.push(error))
  hooks.add('onRequest', () => new Promise(() => {}))
  const request = hooks.onRequest({ headers: [] } as unknown as RequestContext)
  const late = assert.rejects(request, { code: 'TIMEOUT', hop: 'client' })
  await clock.run(5_000)
  await late
  const seen: number[] = []
  hooks.add('onResponse', () => new Promise(() => {}))
  hooks.add('onResponse', ({ latencyMs }) => {
    seen.push(latencyMs)
    throw new Error('full')
  })
  for (let count = 0; count < 1_200; count++)
    hooks.onResponse({ machine: 'home', method: 'GET', path: '/', latencyMs: count })
  // Bounded: what does not fit is told, and not kept.
  assert.equal(told.length, 200)
  await clock.run(clock.now() + 10_000)
  assert.deepEqual(seen, [0, 1])
  assert.equal(told[200]?.code, 'TIMEOUT')
  assert.match(told[201]?.message ?? '', /full/)
})

test('a listener that throws stops no other listener, and no request', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 204) })
  const tunnel = clientOf(t, proxy.url)
  const states: string[] = []
  const errors: TunnelError[] = []
  tunnel.on('state', () => {
    throw new Error('a mistake in the application')
  })
  tunnel.on('state', (state) => states.push(state))
  tunnel.on('error', (error) => errors.push(error))
  await tunnel.connect()
  assert.equal((await tunnel.forwardRequest({ machine: 'home' })).status, 204)
  assert.deepEqual(states, ['connecting', 'connected'])
  assert.deepEqual(
    errors.map(({ code, hop }) => `${hop} ${code}`),
    ['client INTERNAL', 'client INTERNAL'],
  )
  assert.match(errors[0]?.message ?? '', /a listener of the event state threw: a mistake/)
})
