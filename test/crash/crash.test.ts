import assert from 'node:assert/strict'
import test from 'node:test'
import { crash } from './crash.ts'
import { cuts } from './cuts.ts'
import { SmallDisk } from './small-disk.ts'

/** The short forms of npm run crash. */
test('a program that is killed again and again loses no request that was accepted, and none is carried out twice', async (t) => {
  const { accepted, kills } = await crash(t, { seed: 1, kills: 5, perLife: 60, maxStreams: 1 })
  assert.ok(accepted > 50 && kills >= 3, `${accepted} accepted, ${kills} kills`)
})

test('nor while its disk is full again and again; what is refused is not half kept, and it goes on when there is space', async (t) => {
  const disk = SmallDisk.mount(t)
  if (disk === undefined) return t.skip('a small disk can be mounted by root alone')
  const { accepted, refused, recovered } = await crash(t, {
    ...{ seed: 2, kills: 3, perLife: 60, maxStreams: 8 },
    disk,
  })
  assert.ok(accepted >= 40)
  assert.ok(refused > 0 && recovered > 0, `${refused} refused, ${recovered} lives went on`)
})

test('through a link that is cut again and again each request has its answer, and none is of unknown outcome', async (t) => {
  const { answered, cuts: times } = await cuts(t, { requests: 600, cutEvery: 50, concurrency: 100 })
  assert.equal(answered, 600)
  assert.ok(times >= 10)
})

test('a proxy that is killed now and then leaves at most what was in flight unknown', async (t) => {
  const { kills } = await cuts(t, { requests: 800, cutEvery: 90, killEvery: 200, concurrency: 100 })
  assert.ok(kills >= 2)
})
