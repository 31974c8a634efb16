import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Value } from 'typebox/value'
import { Agents } from '../../../plugins/machines/agents.ts'
import type { TunnelError } from '../../../protocol/codec/errors.ts'
import type { Link } from '../../../protocol/link/link.ts'
import { StreamsOptions } from '../../../protocol/options.ts'
import { helloOf, linkOf } from '../../protocol/parties.ts'
import { MemoryPair } from '../../support/memory-transport.ts'
import { tiersByDefault } from '../../support/tiers.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

/** The agents of a proxy, and links of theirs in virtual time. */
function setUp(t: TestContext) {
  const clock = new VirtualClock()
  const agents = new Agents(Value.Create(StreamsOptions), clock)
  t.after(() => agents.close())
  const limits = tiersByDefault().free
  const pass = (ms: number) => clock.run(clock.now() + ms)
  const dial = async (instance: string) => {
    const pair = new MemoryPair({ clock })
    const far: Link = linkOf(pair.b, clock, false, {
      ready: () => agents.attach('alice', 'home', { link: far, isFresh: () => true, limits }),
      closed: () => agents.detach('alice', 'home', far),
    })
    const near = linkOf(pair.a, clock, true, {}, helloOf('agent', { instance, machine: 'home' }))
    await pass(10)
    return { pair, near, far }
  }
  return { agents, dial, pass }
}

test('an older link of the same agent is asked at once whether it lives, and dropped when it does not', async (t) => {
  const { agents, dial, pass } = setUp(t)
  const first = await dial('agent')
  // Its address has changed: nothing gets through, and nobody says so.
  first.pair.freeze()
  const second = await dial('agent')
  await pass(3_100)
  assert.equal(first.far.closedWith?.code, 'TIMEOUT')
  assert.equal(agents.get('alice', 'home')?.link, second.far)
})

test('of two links of one agent either may end, and its machine stays on line over the other', async (t) => {
  const { agents, dial, pass } = setUp(t)
  const first = await dial('agent')
  const second = await dial('agent')
  second.near.close()
  await pass(10)
  assert.equal(agents.get('alice', 'home')?.link, first.far)
  first.near.close()
  await pass(10)
  assert.equal(agents.get('alice', 'home')?.online, false)
})

test('another program of the same name takes the place, and every link of the older one is told', async (t) => {
  const { agents, dial, pass } = setUp(t)
  const [first, second] = [await dial('agent'), await dial('agent')]
  const rival = await dial('rival')
  await pass(10)
  for (const { near } of [first, second]) assert.equal(near.closedWith?.code, 'TAKEN_OVER')
  assert.equal(agents.get('alice', 'home')?.link, rival.far)
})

test('one agent has four links at a time: a fifth closes the oldest, which is told TAKEN_OVER', async (t) => {
  const { dial, pass } = setUp(t)
  const links = []
  for (let count = 0; count < 10; count++) links.push(await dial('agent'))
  await pass(10)
  assert.deepEqual(
    links.map(({ near }) => near.closedWith?.code),
    [...Array(6).fill('TAKEN_OVER'), ...Array(4).fill(undefined)],
  )
})

test('who waits for an agent that does not come back is told so when its time is over', async (t) => {
  const { agents, dial, pass } = setUp(t)
  const { near } = await dial('agent')
  near.close()
  await pass(10)
  const told: string[] = []
  const gone = (error: TunnelError) => told.push(error.code)
  agents.ways.whenOnline('alice', 'home', () => assert.fail('it is not there'), gone)
  await pass(119_000)
  assert.deepEqual(told, [])
  await pass(2_000)
  assert.deepEqual(told, ['AGENT_LOST'])
})

test('an agent that is dialling is waited for, a moment after it was lost and a moment after the start', async (t) => {
  const { agents, dial, pass } = setUp(t)
  const early = agents.ways.link('alice', 'home')
  const { near, far } = await dial('agent')
  assert.equal(await early, far)
  await pass(60_000)
  near.close()
  await pass(1_000)
  const again = agents.ways.link('alice', 'home')
  const back = await dial('agent')
  assert.equal(await again, back.far)
  back.near.close()
  await pass(10)
  await pass(6_000)
  await assert.rejects(agents.ways.link('alice', 'home'), { code: 'MACHINE_OFFLINE' })
  await assert.rejects(agents.ways.link('alice', 'other'), { code: 'MACHINE_OFFLINE' })
})

test('a wall clock that is set back makes nobody wait longer for an agent', async (t) => {
  const { agents, dial, pass } = setUp(t)
  const { near } = await dial('agent')
  await pass(60_000)
  near.close()
  await pass(10)
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() - 3_600_000 })
  const waiting = agents.ways.link('alice', 'home')
  waiting.catch(() => {})
  await pass(5_000)
  await assert.rejects(waiting, { code: 'MACHINE_OFFLINE' })
})
