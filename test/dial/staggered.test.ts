import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import type { ConnectionOptions } from '../../dial/connection.ts'
import { STAGGER_MS } from '../../dial/staggered.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { DialOptions, Transport } from '../../protocol/link/transport.ts'
import { MemoryPair } from '../support/memory-transport.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { connectionOf, proxyLink } from './connections.ts'

const [ONE, TWO, THREE] = ['ws://one', 'ws://two', 'ws://three'] as const

/** How a proxy answers a dial: with its HELLO after so many ms, with an error, or never. */
type Answer = number | TunnelError | 'never'

/** A connection to three proxies over memory, in a time that the test moves. */
function setUp(t: TestContext, answers: Record<string, Answer>, options: Partial<ConnectionOptions> = {}) {
  const clock = new VirtualClock()
  const startedAtMs = clock.now()
  /** `url atMs token`, of each dial. */
  const dials: string[] = []
  const calledOff: string[] = []
  const links: { url: string; link: Link }[] = []
  const dial = async (url: string, { signal, headers }: DialOptions): Promise<Transport> => {
    dials.push(`${url} ${clock.now() - startedAtMs} ${headers?.authorization?.slice('Bearer '.length)}`)
    const answer = answers[url] ?? 'never'
    if (answer === 'never') {
      if (signal?.aborted !== true) await once(signal as AbortSignal, 'abort')
      calledOff.push(url)
      throw new TunnelError('ABORTED', 'called off', { hop: 'client' })
    }
    if (answer instanceof TunnelError) throw answer
    const pair = new MemoryPair({ clock, latencyMs: () => answer / 2 })
    links.push({ url, link: proxyLink(pair, clock) })
    return pair.a
  }
  const { connection, run } = connectionOf(t, clock, { urls: [ONE, TWO, THREE], dial, ...options })
  const events: string[] = []
  connection.on('state', (state) => events.push(state))
  connection.on('redial', ({ attempt }) => events.push(`redial ${attempt}`))
  const open = () => links.filter(({ link }) => !link.closed).map(({ url }) => url)
  return { clock, dials, calledOff, links, connection, events, run, open }
}

const leaves = () => new TunnelError('SHUTTING_DOWN', 'leaving', { hop: 'proxy', retryAfterMs: 0 })

test('an address that does not answer gets company after a while, each time after a longer one, and the first HELLO wins', async (t) => {
  const answers = { [ONE]: 'never', [TWO]: 'never', [THREE]: 10 } as const
  const { connection, dials, calledOff, events, run, open } = setUp(t, answers)
  const connected = connection.connect()
  await run(3 * STAGGER_MS + 100)
  await connected
  assert.deepEqual(dials, [
    `${ONE} 0 token`,
    `${TWO} ${STAGGER_MS} token`,
    `${THREE} ${3 * STAGGER_MS} token`,
  ])
  assert.deepEqual(calledOff, [ONE, TWO])
  assert.deepEqual(open(), [THREE])
  assert.deepEqual(events, ['connecting', 'connected'])
})

test('one that answers in time is dialled alone', async (t) => {
  const { connection, dials, run, open, clock } = setUp(t, { [ONE]: STAGGER_MS - 10, [TWO]: 10 })
  const connected = connection.connect()
  await run(STAGGER_MS)
  await connected
  await run(10 * STAGGER_MS)
  assert.equal(dials.length, 1)
  assert.deepEqual(open(), [ONE])
  void connection.close()
  await run(60_000)
  assert.equal(clock.pending, 0)
})

test('of two that answer, the slower one has no link left, even when its HELLO is on its way', async (t) => {
  for (const [oneMs, winner] of [
    [2 * STAGGER_MS, TWO],
    [STAGGER_MS + 40, ONE],
    // Both in the same moment.
    [STAGGER_MS + 100, undefined],
  ] as const) {
    const { connection, dials, run, open, events } = setUp(t, { [ONE]: oneMs, [TWO]: 100 })
    const connected = connection.connect()
    await run(STAGGER_MS + 1_000)
    await connected
    await run(30_000)
    assert.equal(dials.length, 2, `${oneMs}`)
    assert.equal(open().length, 1, `${oneMs}`)
    if (winner !== undefined) assert.deepEqual(open(), [winner])
    assert.equal(connection.link?.closed, false)
    assert.deepEqual(events, ['connecting', 'connected'])
  }
})

test('the next dial begins at the address that won', async (t) => {
  const { connection, dials, links, run } = setUp(t, { [ONE]: 'never', [TWO]: 10 })
  const connected = connection.connect()
  await run(STAGGER_MS + 100)
  await connected
  links[0]!.link.close(leaves())
  await run(1_000)
  assert.equal(connection.state, 'connected')
  assert.match(dials.at(-1)!, new RegExp(`^${TWO} `))
  assert.equal(dials.length, 3)
})

test('an address that refuses is followed at once, while one that is silent still has its time', async (t) => {
  const { connection, dials, run, open } = setUp(t, { [ONE]: 3_000, [TWO]: leaves(), [THREE]: leaves() })
  const connected = connection.connect()
  await run(4_000)
  await connected
  assert.deepEqual(
    dials.map((dial) => dial.split(' ').slice(0, 2).join(' ')),
    [`${ONE} 0`, `${TWO} ${STAGGER_MS}`, `${THREE} ${STAGGER_MS}`],
  )
  assert.deepEqual(open(), [ONE])
})

test('what no other address can mend ends the round, and leaves no dial behind', async (t) => {
  const revoked = new TunnelError('TOKEN_REVOKED', 'not any more', { hop: 'proxy' })
  const { connection, calledOff, clock, dials, run } = setUp(t, { [TWO]: revoked })
  const refused = assert.rejects(connection.connect(), { code: 'TOKEN_REVOKED' })
  await run(STAGGER_MS + 100)
  await refused
  await run(60_000)
  assert.equal(dials.length, 2)
  assert.deepEqual(calledOff, [ONE])
  assert.equal(clock.pending, 0)
})

test('closing calls off every dial that is under way, and begins no other', async (t) => {
  const { connection, calledOff, clock, dials, run } = setUp(t, {})
  const connecting = assert.rejects(connection.connect(), { code: 'ABORTED' })
  await run(STAGGER_MS + 100)
  void connection.close()
  await connecting
  await run(60_000)
  assert.equal(dials.length, 2)
  assert.deepEqual(calledOff, [ONE, TWO])
  assert.equal(clock.pending, 0)
})

test('each dial has a token of its own, which is asked for when it is made, and a slow provider is no fault of an address', async (t) => {
  let asked = 0
  const holder: { clock?: VirtualClock } = {}
  const token = () =>
    new Promise<string>((resolve) => {
      const answer = `token-${++asked}`
      holder.clock?.setTimer(() => resolve(answer), 5_000)
    })
  const { connection, clock, dials, run, open } = setUp(t, { [TWO]: 10 }, { token })
  holder.clock = clock
  const connected = connection.connect()
  await run(20_000)
  await connected
  assert.deepEqual(dials, [`${ONE} 5000 token-1`, `${TWO} ${10_000 + STAGGER_MS} token-2`])
  assert.equal(asked, 2)
  assert.deepEqual(open(), [TWO])
})

test('two dials that want a token at the same time are not given the same one', async (t) => {
  const answers: Record<string, Answer> = { [ONE]: 'never', [THREE]: 10 }
  let asked = 0
  const holder: { clock?: VirtualClock } = {}
  const token = () =>
    new Promise<string>((resolve) => {
      const answer = `token-${++asked}`
      // The second address refuses one, and wants another while the third address wants its own.
      answers[TWO] = asked === 2 ? new TunnelError('TOKEN_EXPIRED', 'over', { hop: 'proxy' }) : 'never'
      holder.clock?.setTimer(() => resolve(answer), 2 * STAGGER_MS + 1_000)
    })
  const { connection, clock, dials, run } = setUp(t, answers, { token })
  holder.clock = clock
  const connected = connection.connect()
  await run(60_000)
  await connected
  assert.deepEqual(
    dials.map((dial) => dial.split(' ')[2]),
    ['token-1', 'token-2', 'token-3', 'token-4'],
  )
  assert.match(dials.at(-1)!, new RegExp(`^${THREE} `))
})
