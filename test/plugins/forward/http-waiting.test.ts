import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { replaceSystemClock } from '../../../protocol/clock.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { until } from '../../support/proxy.ts'
import { hasCode, request, streaming } from './http-requests.ts'
import { type Opened, type Rig, startRig, webService } from './rig.ts'

test('an SSH connection that is cut ends its requests with an error, and the next one makes another', async (t) => {
  const rig = await startRig(t)
  const target = await webService(t, (incoming, outgoing) => {
    outgoing.writeHead(200)
    outgoing.write('half a ')
    if (incoming.url === '/whole') outgoing.end('mess')
  })
  const cut = request(rig, target)
  await cut.until(() => cut.text === 'half a ')
  rig.sockets[0]?.destroy()
  await assert.rejects(cut.closed, hasCode('AGENT_LOST'))
  const next = request(rig, target, { path: '/whole' })
  await next.closed
  assert.equal(next.text, 'half a mess')
  assert.equal(rig.sockets.length, 2)
})

test('idle HTTP connections give their channels to who needs one', async (t) => {
  const rig = await startRig(t, { pool: { maxPerUser: 1, channelsPerConnection: 2, waitMs: 120_000 } })
  const target = await webService(t, (_incoming, outgoing) => setImmediate(() => outgoing.end('x')))
  await Promise.all([request(rig, target).closed, request(rig, target).closed])
  const exec = rig.open({ kind: 'exec', exec: { command: 'echo there' } }, undefined, true)
  await exec.closed
  assert.equal(exec.text, 'there\n')
})

test('a client that goes away while its request waits leaves no waiter behind', async (t) => {
  const rig = await startRig(t, { pool: { maxPerUser: 1, channelsPerConnection: 1 } })
  const target = await webService(t, (_incoming, outgoing) => void outgoing.write('for ever'))
  const first = request(rig, target)
  await first.until(() => first.text !== '')
  const second = request(rig, target)
  const third = streaming(rig, '127.0.0.1:1', { method: 'GET' })
  await third.accepted
  while (rig.app.pool.waiting('ada') === 0) await new Promise(setImmediate)
  for (const opened of [second, third])
    opened.stream.reset(new TunnelError('ABORTED', 'enough', { hop: 'proxy' }))
  while (rig.app.pool.waiting('ada') > 0) await new Promise(setImmediate)
  first.stream.reset(new TunnelError('ABORTED', 'enough', { hop: 'proxy' }))
  await rig.settled()
  while (rig.app.pool.states('ada').busy > 0) await new Promise(setImmediate)
})

/** A service whose first request holds the only channel until `release`; the paths of those behind it are `served`. */
async function holdChannel(t: TestContext, rig: Rig) {
  const served: string[] = []
  let release: () => void = () => {}
  const target = await webService(t, (incoming, outgoing) => {
    if (incoming.url === '/first') {
      release = () => outgoing.end()
      return void outgoing.write('begun')
    }
    served.push(incoming.url ?? '')
    outgoing.end()
  })
  const first = request(rig, target, { path: '/first' })
  await first.until(() => first.text === 'begun')
  return { target, served, release: () => release() }
}

test('requests that wait for a channel are served by priority, and first in first out within one', async (t) => {
  const rig = await startRig(t, { pool: { maxPerUser: 1, channelsPerConnection: 1 } })
  const { target, served, release } = await holdChannel(t, rig)
  const waiting = () => {
    const { high, normal, low } = rig.app.forward.waiting()
    return high + normal + low
  }
  const others: Opened[] = []
  for (const [index, priority] of (['low', 'normal', 'high', 'low', 'normal', 'high'] as const).entries()) {
    others.push(request(rig, target, { path: `/${priority}/${index}`, priority }))
    // One after the other: on the link too a priority goes before another.
    await until(() => waiting() === index + 1)
  }
  release()
  await Promise.all(others.map(({ closed }) => closed))
  assert.deepEqual(served, ['/high/2', '/high/5', '/normal/1', '/normal/4', '/low/0', '/low/3'])
})

test('of many requests that wait, those of low priority have their turns too', async (t) => {
  const rig = await startRig(t, { pool: { maxPerUser: 1, channelsPerConnection: 1 } })
  const { target, served, release } = await holdChannel(t, rig)
  const others = Array.from({ length: 60 }, () => request(rig, target, { path: '/high', priority: 'high' }))
  for (const priority of ['low', 'normal'] as const)
    others.push(request(rig, target, { path: `/${priority}`, priority }))
  const waiting = () => Object.values(rig.app.forward.waiting()).reduce((sum, count) => sum + count)
  await until(() => waiting() === others.length)
  release()
  await Promise.all(others.map(({ closed }) => closed))
  const turns = [served.indexOf('/normal'), served.indexOf('/low')]
  assert.ok(turns[0]! < 10 && turns[1]! > turns[0]! && turns[1]! < 40, `turns ${turns} of ${served.length}`)
})

/** From now on time can be moved on for all that `t` starts. */
function turnedClock(t: TestContext): { pass(ms: number): void } {
  let aheadMs = 0
  const clock = {
    now: () => performance.now() + aheadMs,
    setTimer: (callback: () => void, ms: number) => setTimeout(callback, ms).unref(),
    clearTimer: (timer: unknown) => clearTimeout(timer as NodeJS.Timeout),
  }
  t.after(replaceSystemClock(clock))
  return {
    pass: (ms) => {
      aheadMs += ms
    },
  }
}

for (const [slowMs, told] of [
  [1, 'is logged as a WARN with its machine'],
  [86_400_000, 'is no WARN where that is not slow'],
] as const) {
  test(`a request that was answered after two ms ${told}`, async (t) => {
    const clock = turnedClock(t)
    const rig = await startRig(t, { request: { slowMs } })
    const warn = t.mock.method(rig.app.log, 'warn', () => {})
    const target = await webService(t, (_incoming, outgoing) => {
      clock.pass(2)
      outgoing.end()
    })
    await request(rig, target).closed
    const warnings = warn.mock.calls.map(({ arguments: words }) => words as unknown[])
    if (slowMs > 1) return assert.deepEqual(warnings, [])
    const [[line, text]] = warnings as [[{ context: Record<string, number> }, string]]
    assert.deepEqual([warnings.length, text, line.context.machine], [1, 'slow request', 'home'])
    assert.ok(Number(line.context.latencyMs) >= 2)
  })
}

test('a slow request is logged with where its time went: admission, the wait for a connection, or the service', async (t) => {
  const hourMs = 3_600_000
  const clock = turnedClock(t)
  const rig = await startRig(t, {
    request: { slowMs: hourMs / 2 },
    pool: { maxPerUser: 1, channelsPerConnection: 1 },
  })
  const warn = t.mock.method(rig.app.log, 'warn', () => {})
  let answer: (() => void) | undefined
  const target = await webService(t, (incoming, outgoing) => {
    if (incoming.url === '/held') answer = () => outgoing.end()
    else outgoing.end()
  })
  const first = request(rig, target, { path: '/held' })
  await until(() => answer !== undefined)
  const second = request(rig, target, { path: '/waits' })
  await until(() => rig.app.pool.waiting('ada') === 1)
  clock.pass(hourMs)
  answer?.()
  await Promise.all([first.closed, second.closed])
  const lines = warn.mock.calls.map(({ arguments: words }) => (words as unknown as [Slow])[0].context)
  const [served, waited] = lines as [Slow['context'], Slow['context']]
  for (const { latencyMs, admissionMs, connectionMs, serviceMs } of [served, waited])
    assert.ok(Math.abs(latencyMs - admissionMs - connectionMs - serviceMs) <= 2)
  assert.ok(served.serviceMs >= hourMs && served.connectionMs < hourMs, JSON.stringify(lines))
  assert.ok(waited.connectionMs >= hourMs && waited.serviceMs < hourMs, JSON.stringify(lines))
})

interface Slow {
  context: { latencyMs: number; admissionMs: number; connectionMs: number; serviceMs: number }
}

test('a request that finds no channel within waitMs is POOL_EXHAUSTED', async (t) => {
  const rig = await startRig(t, { pool: { maxPerUser: 1, channelsPerConnection: 1, waitMs: 100 } })
  const target = await webService(t, (_incoming, outgoing) => void outgoing.write('for ever'))
  const first = request(rig, target)
  await first.until(() => first.text !== '')
  await assert.rejects(request(rig, target).closed, hasCode('POOL_EXHAUSTED'))
  await assert.rejects(
    rig.open({ kind: 'exec', exec: { command: 'true' } }, undefined, true).closed,
    hasCode('POOL_EXHAUSTED'),
  )
})
