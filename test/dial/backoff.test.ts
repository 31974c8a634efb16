import assert from 'node:assert/strict'
import { test } from 'node:test'
import { backoffMs } from '../../dial/backoff.ts'

const options = { baseMs: 2_000, multiplier: 2, jitter: 0.3, maxMs: 60_000, maxAttempts: 10 }

test('the first redial is immediate', () => {
  assert.equal(backoffMs(0, options), 0)
})

test('waits grow by the multiplier up to the maximum', () => {
  const plain = [1, 2, 3, 4, 5, 6, 50].map((failures) => backoffMs(failures, { ...options, jitter: 0 }))
  assert.deepEqual(plain, [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
})

test('jitter spreads a wait by its share to either side', () => {
  assert.equal(
    backoffMs(1, options, () => 0),
    1_400,
  )
  assert.equal(
    backoffMs(1, options, () => 0.5),
    2_000,
  )
  assert.ok(backoffMs(1, options, () => 0.999_999) <= 2_600)
})
