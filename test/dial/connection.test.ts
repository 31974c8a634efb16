import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import type { ConnectionOptions } from '../../dial/connection.ts'
import type { Redial } from '../../dial/connection-state.ts'
import type { TokenAsk } from '../../dial/token.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { DialOptions, Transport } from '../../protocol/link/transport.ts'
import { MemoryPair } from '../support/memory-transport.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { connectionOf, hello, proxyLink } from './connections.ts'

const refused = () => new TunnelError('CONNECT_REFUSED', 'nobody listens', { hop: 'client' })

/** A connection over memory, in a time that the test moves. `refuse` answers a dial with an error. */
function setUp(t: TestContext, options: Partial<ConnectionOptions> = {}) {
  const clock = new VirtualClock()
  const pairs: MemoryPair[] = []
  const dials: { url: string; atMs: number }[] = []
  const redials: Redial[] = []
  const control = {
    refuse: undefined as ((url: string) => TunnelError | undefined) | undefined,
    /** A dial gets no answer. */
    hang: false,
  }
  const dial = async (url: string, { signal }: DialOptions): Promise<Transport> => {
    dials.push({ url, atMs: clock.now() })
    if (control.hang) await once(signal!, 'abort').then(() => Promise.reject(refused()))
    const refusal = control.refuse?.(url)
    if (refusal !== undefined) throw refusal
    const pair = new MemoryPair({ clock, latencyMs: () => 5 })
    pairs.push(pair)
    proxyLinks.push(proxyLink(pair, clock))
    return pair.a
  }
  const proxyLinks: Link[] = []
  const { connection, run } = connectionOf(t, clock, { urls: ['ws://one'], dial, ...options })
  connection.on('redial', (redial) => redials.push(redial))
  const connect = async () => {
    const connected = connection.connect()
    await run(100)
    await connected
  }
  return { clock, pairs, dials, redials, connection, control, proxyLinks, run, connect }
}

test('after a loss the first dial is immediate, later ones wait as the backoff says, and then it gives up', async (t) => {
  const { connection, control, connect, dials, pairs, run, redials } = setUp(t)
  await connect()
  const errors: TunnelError[] = []
  connection.on('failed', (error) => errors.push(error))
  control.refuse = refused
  const lostAtMs = dials[0]!.atMs + 100
  pairs[0]!.cut()
  await run(60_000)
  assert.deepEqual(
    dials.slice(1).map(({ atMs }) => atMs - lostAtMs),
    [0, 2_000, 6_000, 14_000],
  )
  assert.deepEqual(
    redials.map(({ attempt, delayMs }) => [attempt, delayMs]),
    [
      [1, 0],
      [2, 2_000],
      [3, 4_000],
      [4, 8_000],
    ],
  )
  assert.equal(connection.state, 'disconnected')
  assert.equal(errors[0]?.code, 'CONNECT_REFUSED')
})

test('a first dial that comes to a proxy which leaves is made again, when that says, but not without end', async (t) => {
  const { connection, control, dials, run } = setUp(t)
  const leaving = (retryAfterMs: number) =>
    new TunnelError('SHUTTING_DOWN', 'the proxy is shutting down', { hop: 'proxy', retryAfterMs })
  control.refuse = () => (dials.length === 3 ? undefined : leaving(dials.length === 1 ? 0 : 1_000))
  const connected = connection.connect()
  await run(2_000)
  await connected
  assert.deepEqual(
    dials.map(({ atMs }) => atMs - dials[0]!.atMs),
    [0, 50, 1_200],
  )
  const other = setUp(t)
  other.control.refuse = () => leaving(0)
  const refusedAll = assert.rejects(other.connection.connect(), { code: 'SHUTTING_DOWN' })
  await other.run(2_000)
  await refusedAll
  assert.equal(other.dials.length, 5)
})

test('while streams wait, dials come at most some ten seconds apart and up to the end of their window, and no longer', async (t) => {
  const { connection, control, connect, dials, pairs, run, clock } = setUp(t, { streams: () => 1 })
  await connect()
  control.refuse = refused
  const lostAtMs = clock.now()
  pairs[0]!.cut()
  await run(400_000)
  const atMs = dials.slice(1).map((dial) => dial.atMs - lostAtMs)
  const inWindow = atMs.filter((ms) => ms <= hello.resumeMs)
  const gaps = inWindow.map((ms, index) => ms - (inWindow[index - 1] ?? 0))
  assert.ok(Math.max(...gaps) <= 10_400, String(gaps))
  assert.ok(inWindow.at(-1)! >= hello.resumeMs - 3_000, String(atMs))
  // Its four attempts were used up long before.
  assert.equal(connection.state, 'disconnected')
  assert.ok(atMs.length - inWindow.length <= 1, String(atMs))
})

test('a person who waits cuts a wait short, and calls off no dial', async (t) => {
  const { connection, control, connect, dials, pairs, run } = setUp(t)
  await connect()
  control.refuse = refused
  pairs[0]!.cut()
  await run(100)
  control.refuse = undefined
  control.hang = true
  connection.hurry()
  connection.hurry()
  await run(100)
  connection.hurry()
  await run(100)
  assert.equal(dials.length, 3)
})

test('a change of the network cuts a wait short while a proxy that leaves has no successor', async (t) => {
  const { connection, control, connect, dials, proxyLinks, run } = setUp(t)
  await connect()
  control.refuse = refused
  proxyLinks[0]!.goaway({ code: 'SHUTTING_DOWN', message: 'bye', deadlineMs: 30_000 })
  await run(5_000)
  const before = dials.length
  control.refuse = undefined
  connection.check()
  await run(100)
  assert.equal(dials.length, before + 1)
  assert.equal(connection.state, 'connected')
})

test('a proxy that accepts links only to throw them out is not dialled without pause', async (t) => {
  const { connection, connect, dials, proxyLinks, run } = setUp(t)
  await connect()
  for (let round = 0; round < 4; round++) {
    proxyLinks.at(-1)!.close(new TunnelError('TOO_MANY_CONNECTIONS', 'one too many', { hop: 'client' }))
    await run(20_000)
  }
  assert.equal(connection.state, 'disconnected')
  assert.ok(dials.length <= 4)
})

test('a proxy that says when to come back is not dialled before', async (t) => {
  const { control, connect, dials, pairs, run, clock } = setUp(t)
  await connect()
  control.refuse = () => new TunnelError('RATE_LIMITED', 'slowly', { hop: 'client', retryAfterMs: 30_000 })
  const lostAtMs = clock.now()
  pairs[0]!.cut()
  await run(29_000)
  assert.equal(dials.length, 2)
  await run(11_000)
  assert.equal(dials.length, 3)
  const waitedMs = dials.at(-1)!.atMs - lostAtMs
  // And a little later, by the backoff's jitter: others were told the same.
  assert.ok(waitedMs > 30_000 && waitedMs <= 39_000, String(waitedMs))
})

test('a link that goes silent is found dead, and a change of the network finds it sooner', async (t) => {
  const { connect, connection, dials, pairs, run } = setUp(t)
  await connect()
  pairs[0]!.freeze()
  await run(50_000)
  assert.equal(dials.length, 2)
  assert.equal(connection.state, 'connected')
  pairs[1]!.freeze()
  connection.check()
  await run(1_100)
  assert.equal(dials.length, 3)
})

test('a change of the network cuts a wait short', async (t) => {
  const { connect, connection, control, dials, pairs, run } = setUp(t)
  await connect()
  control.refuse = refused
  pairs[0]!.cut()
  await run(100)
  control.refuse = undefined
  assert.equal(dials.length, 2)
  connection.check()
  await run(100)
  assert.equal(dials.length, 3)
  assert.equal(connection.state, 'connected')
})

test('a change of the network begins a dial anew that waits for an answer, and counts it as no failure', async (t) => {
  const { connect, connection, control, dials, pairs, redials, run } = setUp(t)
  await connect()
  control.hang = true
  pairs[0]!.cut()
  await run(100)
  connection.check()
  await run(100)
  control.hang = false
  connection.check()
  await run(100)
  assert.equal(dials.length, 4)
  assert.equal(redials.length, 1)
  assert.equal(connection.state, 'connected')
})

test('closing calls off a dial that waits for an answer', async (t) => {
  const { connect, connection, control, dials, pairs, run } = setUp(t)
  await connect()
  control.hang = true
  pairs[0]!.cut()
  await run(100)
  connection.close()
  await run(60_000)
  assert.equal(dials.length, 2)
})

test('of several addresses the next is dialled when one fails, and the one that works is kept', async (t) => {
  const { connect, control, dials, pairs, run, redials } = setUp(t, { urls: ['ws://one', 'ws://two'] })
  control.refuse = (url) => (url === 'ws://one' ? refused() : undefined)
  await connect()
  pairs[0]!.cut()
  await run(100)
  assert.deepEqual(
    dials.map(({ url }) => url),
    ['ws://one', 'ws://two', 'ws://two'],
  )
  assert.equal(redials.length, 1)
})

test('one who was taken over stops, and does not fight back', async (t) => {
  const { connect, connection, dials, proxyLinks, run } = setUp(t)
  await connect()
  const errors: TunnelError[] = []
  connection.on('failed', (error) => errors.push(error))
  proxyLinks[0]!.close(new TunnelError('TAKEN_OVER', 'a newer one is here', { hop: 'client' }))
  await run(60_000)
  assert.equal(dials.length, 1)
  assert.equal(errors[0]?.code, 'TAKEN_OVER')
  assert.equal(connection.state, 'disconnected')
})

test('a proxy that leaves and has no successor yet is kept until it goes, and then dialled again', async (t) => {
  const { connect, connection, control, dials, proxyLinks, run } = setUp(t)
  const states: string[] = []
  await connect()
  connection.on('state', (state) => states.push(state))
  control.refuse = () => new TunnelError('SHUTTING_DOWN', 'leaving', { hop: 'client', retryAfterMs: 1_000 })
  proxyLinks[0]!.goaway({ code: 'SHUTTING_DOWN', message: 'leaving', deadlineMs: 5_000 })
  await run(5_000)
  assert.deepEqual(states, [])
  assert.ok(dials.length > 3)
  proxyLinks[0]!.close(new TunnelError('SHUTTING_DOWN', 'gone', { hop: 'client' }))
  await run(100)
  control.refuse = undefined
  await run(20_000)
  assert.deepEqual(states, ['reconnecting', 'connected'])
  assert.equal(proxyLinks.filter((link) => !link.closed).length, 1)
})

test('closing calls off a dial and leaves no timer behind', async (t) => {
  const { clock, connection, control, connect, pairs, run } = setUp(t)
  await connect()
  control.refuse = refused
  pairs[0]!.cut()
  await run(100)
  connection.close()
  connection.close()
  await run(100)
  assert.equal(connection.state, 'closed')
  await run(120_000)
  assert.equal(clock.pending, 0)
})

test('a link that ends while another takes over from it is followed by one dial, not two', async (t) => {
  const { connect, connection, control, dials, proxyLinks, run } = setUp(t)
  await connect()
  control.hang = true
  proxyLinks[0]!.goaway({ code: 'SHUTTING_DOWN', message: 'leaving', deadlineMs: 30_000 })
  await run(100)
  proxyLinks[0]!.close(new TunnelError('SHUTTING_DOWN', 'gone', { hop: 'client' }))
  control.hang = false
  await run(60_000)
  assert.equal(dials.length, 3)
  assert.equal(connection.state, 'connected')
  assert.equal(proxyLinks.filter((link) => !link.closed).length, 1)
})

test('what an older link says of leaving is not said of the newest', async (t) => {
  const { connect, connection, proxyLinks, run } = setUp(t)
  await connect()
  const stays = {
    priority: 'normal',
    compressible: false,
    nextFrame: () => undefined,
    frame() {},
    acknowledge() {},
  } as const
  connection.link!.join({ ...stays, tick: () => false, linkClosed() {} })
  const goaway = { message: 'leaving', deadlineMs: 60_000 }
  proxyLinks[0]!.goaway({ code: 'SHUTTING_DOWN', ...goaway })
  await run(500)
  const second = connection.link
  assert.equal(proxyLinks.length, 2)
  for (const code of ['SHUTTING_DOWN', 'TAKEN_OVER']) proxyLinks[0]!.goaway({ code, ...goaway })
  await run(500)
  assert.equal(connection.link, second)
  assert.equal(proxyLinks.length, 2)
})

test('links that die young are followed at once, but not without end', async (t) => {
  const { connect, connection, dials, pairs, run } = setUp(t)
  await connect()
  for (let tenths = 0; tenths < 600; tenths++) {
    await run(100)
    if (connection.link?.rttMs !== undefined) pairs.at(-1)!.cut()
  }
  assert.ok(dials.length > 100 && dials.length < 350, `${dials.length} dials in a minute`)
})

test('a link that is ended for its token is dialled once more, with a fresh one, and then given up', async (t) => {
  let asked = 0
  const { connect, connection, proxyLinks, run } = setUp(t, { token: () => `token-${++asked}` })
  await connect()
  const failed: string[] = []
  connection.on('failed', (error) => failed.push(error.code))
  for (const number of [0, 1]) {
    proxyLinks[number]!.close(new TunnelError('TOKEN_REVOKED', 'not any more', { hop: 'client' }))
    await run(5_000)
  }
  assert.equal(asked, 2)
  assert.deepEqual(failed, ['TOKEN_REVOKED'])
  assert.equal(connection.state, 'disconnected')
})

test('a provider is told which token was refused, and nothing more once one was taken', async (t) => {
  const asks: (TokenAsk | undefined)[] = []
  const token = (ask?: TokenAsk) => `token-${asks.push(ask)}`
  const { connect, control, pairs, run } = setUp(t, { token })
  const over = new TunnelError('TOKEN_EXPIRED', 'over', { hop: 'proxy' })
  control.refuse = () => (asks.length === 1 ? over : undefined)
  await connect()
  pairs[0]!.cut()
  await run(1_000)
  assert.deepEqual(asks, [{}, { refused: 'token-1' }, {}])
})

test('a token provider that never answers holds up no dial for ever, and no close', async (t) => {
  let asked = 0
  const token = () => (++asked === 2 ? new Promise<string>(() => {}) : 'token')
  const backoff = { baseMs: 2_000, multiplier: 1, jitter: 0, maxMs: 2_000, maxAttempts: 10 }
  const { connect, connection, pairs, run } = setUp(t, { token, backoff })
  await connect()
  pairs[0]!.cut()
  // It may only be slow, and its owner think: dials wait for the same answer before it is asked anew.
  await run(45_000)
  assert.equal(asked, 2)
  await run(40_000)
  assert.equal(asked, 3)
  assert.equal(connection.state, 'connected')
  const silent = setUp(t, { token: () => new Promise<string>(() => {}) })
  const connecting = silent.connection.connect()
  await silent.run(100)
  silent.connection.close()
  await assert.rejects(connecting, { code: 'ABORTED' })
})
