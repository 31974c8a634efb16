import assert from 'node:assert/strict'
import test from 'node:test'
import { requireSystem } from '../support/system.ts'
import { copyGround, cutCopy } from './copies.ts'

const MIB = 1_048_576
const CUTS = 4

/** The short form of npm run copies. */
test('a file that is copied while its link is cut again and again arrives whole, and the cuts are counted', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const ground = await copyGround(t, 16 * MIB)
  for (const way of ['up', 'down'] as const) {
    const { resumes, checked } = await cutCopy(ground, way, CUTS)
    assert.equal(checked, 'both sides')
    // Cuts in a row, with nothing moved between them, are one interruption.
    assert.ok(resumes >= 1 && resumes <= CUTS, `${way}: ${resumes}`)
  }
})
