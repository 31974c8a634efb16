import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Heartbeat, type HeartbeatTarget } from '../../../protocol/link/heartbeat.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const TIMES = { intervalMs: 30_000, timeoutMs: 45_000 }

class Watched implements HeartbeatTarget {
  readonly clock: VirtualClock
  readonly pings: number[] = []
  lostAtMs: number | undefined
  beats = 0
  listens = true

  constructor(clock = new VirtualClock()) {
    this.clock = clock
  }
  ping(): void {
    this.pings.push(this.clock.now())
  }
  lost(): void {
    assert.equal(this.lostAtMs, undefined, 'lost twice')
    this.lostAtMs = this.clock.now()
  }
  beat(): void {
    this.beats++
  }
  listening(): boolean {
    return this.listens
  }
}

/** A clock whose machine sleeps: time passes and no timer fires. */
class SleepyClock extends VirtualClock {
  #sleptMs = 0
  override now(): number {
    return super.now() + this.#sleptMs
  }
  sleep(ms: number): void {
    this.#sleptMs += ms
  }
}

test('a quiet link is asked after the interval and dead after the timeout', async () => {
  const watched = new Watched()
  new Heartbeat(watched, watched.clock, TIMES)
  await watched.clock.run(1_000_000)
  assert.deepEqual(watched.pings, [30_000])
  assert.equal(watched.lostAtMs, 45_000)
  assert.equal(watched.clock.pending, 0)
})

test('whatever is received counts: a link under load sends no PING', async () => {
  const watched = new Watched()
  const heartbeat = new Heartbeat(watched, watched.clock, TIMES)
  for (let second = 1; second <= 600; second++) {
    await watched.clock.run(second * 1_000)
    heartbeat.received()
  }
  assert.deepEqual(watched.pings, [])
  assert.ok(watched.beats >= 10)
})

test('a dead link is found within timeoutMs of the last traffic, whenever that was', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 44_000 }), { maxLength: 30 }), async (gaps) => {
      const watched = new Watched()
      const heartbeat = new Heartbeat(watched, watched.clock, TIMES)
      let lastMs = 0
      for (const gap of gaps) {
        await watched.clock.run(watched.clock.now() + gap)
        heartbeat.received()
        lastMs = watched.clock.now()
      }
      assert.equal(watched.lostAtMs, undefined)
      await watched.clock.run(lastMs + 45_000)
      assert.equal(watched.lostAtMs, lastMs + 45_000)
    }),
  )
})

test('after a sleep of the machine the link is asked at once and has a moment to answer', async () => {
  for (const answers of [true, false]) {
    const clock = new SleepyClock()
    const watched = new Watched(clock)
    const heartbeat = new Heartbeat(watched, clock, TIMES)
    await clock.run(10_000)
    clock.sleep(8 * 3_600_000)
    const wokeAt = clock.now()
    // The timer that was due in the night fires now.
    await clock.run(30_000)
    assert.equal(watched.pings.length, 1)
    if (answers) heartbeat.received()
    await clock.run(36_000)
    assert.equal(watched.lostAtMs !== undefined, !answers)
    if (!answers) assert.ok(watched.lostAtMs! - wokeAt <= 20_000 + 3_001, `${watched.lostAtMs! - wokeAt}`)
    heartbeat.stop()
    assert.equal(clock.pending, 0)
  }
})

test('a probe is answered by any traffic, and a second one does not give more time', async () => {
  const watched = new Watched()
  const heartbeat = new Heartbeat(watched, watched.clock, TIMES)
  heartbeat.probe(1_000)
  await watched.clock.run(500)
  heartbeat.received()
  await watched.clock.run(5_000)
  assert.equal(watched.lostAtMs, undefined)
  heartbeat.probe(1_000)
  await watched.clock.run(5_900)
  heartbeat.probe(1_000)
  await watched.clock.run(7_000)
  assert.equal(watched.lostAtMs, 6_000)
  heartbeat.probe(1_000)
  assert.equal(watched.clock.pending, 0)
})

test('silence of a peer that is not listened to proves nothing, and it hears from us all the same', async () => {
  const watched = new Watched()
  watched.listens = false
  new Heartbeat(watched, watched.clock, TIMES)
  await watched.clock.run(600_000)
  assert.equal(watched.lostAtMs, undefined)
  const gaps = watched.pings.map((at, index) => at - (watched.pings[index - 1] ?? 0))
  assert.ok(gaps.length >= 19 && gaps.every((gap) => gap <= 30_000), `${gaps}`)
})

test('a peer with a stricter heartbeat is heeded from then on', async () => {
  const watched = new Watched()
  const heartbeat = new Heartbeat(watched, watched.clock, TIMES)
  heartbeat.set({ intervalMs: 2_000, timeoutMs: 5_000 })
  await watched.clock.run(60_000)
  assert.deepEqual(watched.pings, [2_000, 4_000])
  assert.equal(watched.lostAtMs, 5_000)
})

/** A busy process: time passes, and what is due afterwards is the timers, before anything is read. */
test('a process that was busy reads what has come before it takes a link for dead', async () => {
  const clock = new SleepyClock()
  const watched = new Watched(clock)
  const heartbeat = new Heartbeat(watched, clock, TIMES)
  heartbeat.probe(1_000)
  clock.sleep(1_200)
  // The first of the timers that are due.
  await clock.run(990)
  assert.equal(watched.lostAtMs, undefined)
  heartbeat.received()
  await clock.run(20_000)
  assert.equal(watched.lostAtMs, undefined)
})

test('a machine that sleeps while a probe is out asks again when it wakes', async () => {
  const clock = new SleepyClock()
  const watched = new Watched(clock)
  const heartbeat = new Heartbeat(watched, clock, TIMES)
  heartbeat.probe(3_000)
  clock.sleep(600_000)
  await clock.run(3_000)
  assert.equal(watched.lostAtMs, undefined)
  assert.equal(watched.pings.length, 2)
  await clock.run(7_000)
  assert.notEqual(watched.lostAtMs, undefined)
})
