import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { UserWork } from '../../../plugins/links/work.ts'
import { WorkMeter } from '../../../protocol/link/work-meter.ts'
import { startProxy } from '../../support/proxy.ts'
import { helloOf, RawClient } from './raw-client.ts'

/** To read this takes more time than a turn has. */
const LONG_HEAD = { kind: 'x-nobody', machine: 'home', further: 'x'.repeat(50_000) }

/** Whether the proxy stops reading a peer that sends what takes longer than a turn. */
async function takesTurns(t: TestContext, peer: RawClient, number: number): Promise<boolean> {
  const charge = t.mock.method(WorkMeter.prototype, 'charge')
  peer.open(number, LONG_HEAD)
  await peer.resetOf(number)
  charge.mock.restore()
  return charge.mock.calls.some(({ result }) => (result ?? 0) > 0)
}

test('whoever floods a link takes turns with a user who has no link, and asks by plain HTTP alone', async (t) => {
  const proxy = await startProxy(t)
  const eve = await new RawClient(t, { url: proxy.url, token: proxy.tokenOf('eve') }).hello()
  assert.equal((await proxy.api('eve', 'machines')).status, 200)
  assert.equal(await takesTurns(t, eve, 1), false)
  assert.equal((await proxy.api('bob', 'machines')).status, 200)
  assert.equal(await takesTurns(t, eve, 3), true)
})

test("whoever floods an agent's link takes turns with the user of a client", async (t) => {
  const proxy = await startProxy(t)
  const agent = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('eve'), route: 'agent' })
  await agent.hello(helloOf({ role: 'agent', machine: 'home', enrol: { hostKeys: [], sshUser: 'me' } }))
  assert.equal(await takesTurns(t, agent, 1), false)
  await proxy.connect('bob')
  assert.equal(await takesTurns(t, agent, 3), true)
})

test('a user takes turns while somebody else has a link, streams or has just asked something, and not alone', (t) => {
  let nowMs = 0
  const clock = { now: () => nowMs, setTimer: () => undefined, clearTimer: () => {} }
  let others = false
  const work = new UserWork(() => others, clock)
  t.after(() => work.clear())
  const eve = work.join('eve')
  /** Whether a link of eve's has to wait after so much at once. */
  const waits = (): boolean => {
    nowMs += 10
    return eve.charge(2_000) > 0
  }
  assert.equal(waits(), false)
  work.seen('eve')
  assert.equal(waits(), false)
  others = true
  assert.equal(waits(), true)
  others = false
  work.seen('bob')
  work.seen('eve')
  assert.equal(waits(), true)
  nowMs += 60_000
  assert.equal(waits(), false)
  work.join('bob')
  assert.equal(waits(), true)
})
