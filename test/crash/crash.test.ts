import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test, { type TestContext } from 'node:test'
import { tempFolder } from '../support/tree.ts'
import { crash } from './crash.ts'
import { cuts } from './cuts.ts'

/** The short forms of npm run crash. */
test('a program that is killed again and again loses no request that was accepted, and none is carried out twice', async (t) => {
  const { accepted, kills } = await crash(t, { seed: 1, kills: 5, perLife: 60, maxStreams: 1 })
  assert.ok(accepted > 50 && kills >= 3, `${accepted} accepted, ${kills} kills`)
})

test('nor while its disk is full again and again', async (t) => {
  const smallDisk = await mountSmallDisk(t)
  if (smallDisk === undefined) return t.skip('a small disk can be mounted by root alone')
  const { accepted } = await crash(t, { seed: 2, kills: 4, perLife: 40, maxStreams: 8, smallDisk })
  assert.ok(accepted >= 40)
})

async function mountSmallDisk(t: TestContext): Promise<string | undefined> {
  let mounted: string | undefined
  // Before the folder goes.
  t.after(() => mounted !== undefined && spawnSync('umount', ['-l', mounted]))
  const folder = await tempFolder(t, 'small')
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder])
  if (status === 0) mounted = folder
  return mounted
}

test('through a link that is cut again and again each request has its answer, and none is of unknown outcome', async (t) => {
  const { answered, cuts: times } = await cuts(t, { requests: 2_000, cutEvery: 100, concurrency: 100 })
  assert.equal(answered, 2_000)
  assert.ok(times >= 10)
})

test('a proxy that is killed now and then leaves at most what was in flight unknown', async (t) => {
  const { kills } = await cuts(t, { requests: 2_000, cutEvery: 150, killEvery: 500, concurrency: 100 })
  assert.ok(kills >= 2)
})
