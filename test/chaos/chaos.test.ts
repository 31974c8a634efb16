import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { requireSystem } from '../support/system.ts'
import { runCell } from './cell.ts'
import { FAULTS } from './faults.ts'
import { runHerd } from './herd.ts'
import { whyNoNamespaces } from './netns.ts'
import { PROGRAMS } from './programs/index.ts'

const noNamespaces = await whyNoNamespaces()

/** Each fault once. */
const CELLS = [
  ['ssh', 'cuts'],
  ['ssh', 'freeze'],
  ['ssh', 'address'],
  ['ssh', 'proxy-killed'],
  ['rsync', 'both-links'],
  ['ssh', 'deploy'],
] as const

// Several at once: they mostly wait for their faults.
describe('the short form of npm run chaos', { concurrency: 3 }, () => {
  for (const [programName, faultName] of CELLS) {
    const program = PROGRAMS.find((each) => each.name === programName)!
    const fault = FAULTS.find((each) => each.name === faultName)!
    const skip = requireSystem('sshd', ...program.needs) ?? (fault.inNamespace ? noNamespaces : undefined)

    test(`${program.name} goes on, byte exact, when ${fault.does}`, { skip }, async (t) => {
      const result = await runCell({
        program,
        fault,
        byteCount: 4 * 1_048_576,
        seed: 1,
        short: true,
        profile: 'unstable-network',
        timeoutMs: 60_000,
        signal: t.signal,
      })
      t.diagnostic(
        `${result.hits} faults, ${result.byteCount} bytes, longest stall ${result.longestStallMs} ms`,
      )
      const { count, p50, p95 } = result.recoveryMs
      if (count > 0) t.diagnostic(`moving again: p50 ${p50?.toFixed(0)} ms, p95 ${p95?.toFixed(0)} ms`)
      assert.ok(result.ok, `${result.detail}\n${result.logs}`)
      assert.equal(result.logins, result.sessions)
    })
  }

  test('links that are cut all at once all resume, and the proxy then holds no more than before', {
    skip: requireSystem('sshd'),
  }, async (t) => {
    const result = await runHerd(t, 30, 'unstable-network')
    t.diagnostic(`p50 ${result.p50Ms.toFixed(0)} ms, p95 ${result.p95Ms.toFixed(0)} ms`)
    t.diagnostic(`the proxy holds ${result.liveAfter - result.liveBefore} bytes more than before`)
    assert.equal(result.intact, 30, result.detail)
    assert.ok(result.ok, result.detail)
  })
})
