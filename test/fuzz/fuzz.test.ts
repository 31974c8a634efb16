import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzzInMemory } from './fuzz.ts'
import { PARTIES } from './target.ts'

/** The whole million is `npm run fuzz`; a failing seed is replayed with `--seed`. */
const FRAMES = 15_000
const SEED = 20_260_724

for (const party of PARTIES) {
  test(`${FRAMES} random and mutated frames at the ${party}: no crash, no leak, no other user's stream touched`, async () => {
    const result = await fuzzInMemory(party, FRAMES, SEED)
    assert.deepEqual(result.violations, [])
    assert.equal(result.frames, FRAMES)
    assert.ok(result.bystanderBytes > 100_000, `${result.bystanderBytes}`)
    // A fuzzer whose every link dies at once would prove nothing.
    assert.ok(FRAMES / result.links > 8, `${result.links} links`)
  })
}
