import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../support/seeded-random.ts'
import { type FuzzResult, fuzz } from './fuzz.ts'
import { LiveTarget } from './live-target.ts'
import { MemoryTarget } from './memory-target.ts'
import { PARTIES } from './target.ts'

/** The whole million is `npm run fuzz`; a failing seed is replayed with `--seed`. */
const FRAMES = 5_000
const LIVE_FRAMES = 2_000
const SEED = 20_260_724

function check(result: FuzzResult, frames: number): void {
  assert.deepEqual(result.violations, [])
  assert.equal(result.frames, frames)
  assert.ok(result.bystanderBytes > 6 * frames, `${result.bystanderBytes}`)
  // A fuzzer whose every link dies at once would prove nothing.
  assert.ok(frames / result.links > 8, `${result.links} links`)
}

for (const party of PARTIES) {
  test(`${FRAMES} random and mutated frames at the ${party}: no crash, no leak, no other user's stream touched`, async () => {
    const random = new Random(SEED)
    check(await fuzz(await new MemoryTarget(party, random).start(), FRAMES, random), FRAMES)
  })
}

test(`${LIVE_FRAMES} of them at the listener of a whole proxy: no crash, no leak, no other user's stream touched`, async (t) => {
  const random = new Random(SEED)
  check(await fuzz(await LiveTarget.start(t, random), LIVE_FRAMES, random), LIVE_FRAMES)
})
