import assert from 'node:assert/strict'
import test from 'node:test'
import { systemClock } from '../../protocol/clock.ts'

test('a timer for a time that has just passed fires soon, and warns nobody of it', async (t) => {
  const warnings: string[] = []
  const onWarning = ({ name }: Error): void => void warnings.push(name)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  // What waits for an unreferenced timer alone would end.
  const held = setInterval(() => {}, 1_000)
  t.after(() => clearInterval(held))
  await new Promise<void>((resolve) => systemClock.setTimer(resolve, -0.01))
  assert.ok(!warnings.includes('TimeoutNegativeWarning'))
})
