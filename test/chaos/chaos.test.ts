import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { requireSystem } from '../support/system.ts'
import { startTopology, type Topology } from '../support/topology.ts'
import { runCell } from './cell.ts'
import { FAULTS } from './faults.ts'
import { runHerd } from './herd.ts'
import { whyNoNamespaces } from './netns.ts'
import { PROGRAMS } from './programs/index.ts'

const noNamespaces = await whyNoNamespaces()

const PROFILE = 'unstable-network'
const HERD = 15

/** Each fault once. */
const CELLS = [
  ['ssh', 'cuts'],
  ['ssh', 'freeze'],
  ['rsync', 'both-links'],
  ['ssh', 'proxy-killed'],
  ['ssh', 'address'],
  ['ssh', 'deploy'],
].map(([programName, faultName]) => {
  const program = PROGRAMS.find((each) => each.name === programName)!
  const fault = FAULTS.find((each) => each.name === faultName)!
  const name = `${program.name} goes on, byte exact, when ${fault.does}`
  const skip = requireSystem('sshd', ...program.needs) ?? (fault.inNamespace ? noNamespaces : undefined)
  const run = async (t: TestContext, topology?: Topology): Promise<void> => {
    const result = await runCell({
      ...{ program, fault, topology, seed: 1, short: true, profile: PROFILE, signal: t.signal },
      byteCount: 1_048_576,
      timeoutMs: 120_000,
    })
    t.diagnostic(
      `${result.hits} faults, ${result.byteCount} bytes, longest stall ${result.longestStallMs} ms`,
    )
    const { count, p50, p95 } = result.recoveryMs
    if (count > 0) t.diagnostic(`moving again: p50 ${p50?.toFixed(0)} ms, p95 ${p95?.toFixed(0)} ms`)
    assert.ok(result.ok, `${result.detail}\n${result.logs}`)
    assert.equal(result.logins, result.sessions)
  }
  /** Where its faults need nothing that others do not have. */
  return { name, skip, run, isPlain: !fault.inNamespace && !fault.twoProxies }
})

// Several at once: they mostly wait for their faults.
describe('the short form of npm run chaos', { concurrency: 3 }, () => {
  test('one fault after the other', { skip: requireSystem('sshd') }, async (t) => {
    const topology = await startTopology(t, { profile: PROFILE, relays: true, watchSshd: true })
    for (const { name, skip, run, isPlain } of CELLS) {
      if (isPlain) await t.test(name, { skip }, (t) => run(t, topology))
    }
  })

  for (const { name, skip, run, isPlain } of CELLS) {
    if (!isPlain) test(name, { skip }, (t) => run(t))
  }

  test('links that are cut all at once all resume, and the proxy then holds no more than before', {
    skip: requireSystem('sshd'),
  }, async (t) => {
    const result = await runHerd(t, HERD, PROFILE)
    t.diagnostic(`p50 ${result.p50Ms.toFixed(0)} ms, p95 ${result.p95Ms.toFixed(0)} ms`)
    t.diagnostic(`the proxy holds ${result.liveAfter - result.liveBefore} bytes more than before`)
    assert.equal(result.intact, HERD, result.detail)
    assert.ok(result.ok, result.detail)
  })
})
