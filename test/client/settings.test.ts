import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadSettings } from '../../client/profiles.ts'
import { resolveSettings } from '../../client/settings.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'

test('without profile and overrides every setting has the default of the contract', () => {
  const settings = resolveSettings({}, 'default')
  assert.deepEqual(settings.heartbeat, { intervalMs: 30_000, timeoutMs: 45_000 })
  assert.deepEqual(settings.backoff, {
    baseMs: 2_000,
    multiplier: 2,
    jitter: 0.3,
    maxMs: 60_000,
    maxAttempts: 10,
  })
  assert.deepEqual(settings.queue, {
    maxRequests: 1_000,
    maxBytes: 67_108_864,
    backpressureAt: 0.8,
    drainAt: 0.4,
    whenFull: 'refuse',
    persist: 'high',
    dir: '',
  })
  assert.deepEqual(settings.request, { timeoutMs: 30_000 })
  assert.equal(settings.shutdown.clientMs, 10_000)
  assert.equal(settings.streams.resumeMs, 120_000)
})

test('an override beats the profile, which beats the default', () => {
  const profile = { heartbeat: { intervalMs: 3_000, timeoutMs: 10_000 } }
  const settings = resolveSettings(profile, 'p', { heartbeat: { timeoutMs: 7_000 } })
  assert.deepEqual(settings.heartbeat, { intervalMs: 3_000, timeoutMs: 7_000 })
})

test("a profile's settings that are the server's are not looked at", () => {
  const profile = { pool: { nonsense: true }, request: { slowMs: 1, timeoutMs: 9 } }
  assert.deepEqual(resolveSettings(profile, 'p').request, { timeoutMs: 9 })
})

test('all mistakes are told at once, each with its path and the value given', () => {
  const overrides = {
    heartbeat: { intervalMs: 'soon', timeouMs: 5 },
    backoff: { jitter: 7 },
    pool: {},
    queue: 3,
  }
  assert.throws(
    () => resolveSettings({}, 'default', overrides),
    (error: TunnelError) => {
      assert.equal(error.code, 'CONFIG_INVALID')
      assert.match(error.message, /5 mistakes/)
      assert.match(error.message, /heartbeat\.intervalMs = "soon" \(settings\)/)
      assert.match(error.message, /heartbeat\.timeouMs = 5 \(settings\): there is no such setting/)
      assert.match(error.message, /backoff\.jitter = 7/)
      assert.match(error.message, /pool \(settings\): a client has no such section/)
      assert.match(error.message, /queue = 3/)
      return true
    },
  )
})

test('every profile that ships can be loaded, and an unknown one is refused', async () => {
  for (const name of [
    'default',
    'development',
    'production',
    'stable-network',
    'unstable-network',
    'low-bandwidth',
  ]) {
    await loadSettings(name)
  }
  assert.equal((await loadSettings('unstable-network')).heartbeat.timeoutMs, 10_000)
  await assert.rejects(loadSettings('../../package'), { code: 'CONFIG_INVALID' })
  await assert.rejects(loadSettings('nowhere'), { code: 'CONFIG_INVALID' })
})
