import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Door } from './strangers.ts'

/** `npm run abuse` does ten thousand and a thousand, and reports what it costs an honest user. */
const UPGRADES = 600
const HANDSHAKES = 150
/** What may stay: less than 3 KiB for each, which is mostly the noise of a heap of 60 MB. The long form is finer. */
const SLACK_BYTES = 2_097_152

test('refused upgrades and slow handshakes leave no descriptor and no memory, and an honest user is served meanwhile', {
  skip: process.platform === 'linux' ? undefined : 'needs /proc',
}, async (t) => {
  const door = await Door.start(t)
  await door.refusedUpgrades(UPGRADES / 2)
  await door.honestP95Ms(Promise.resolve())
  const before = await door.held()
  const refusing = door.refusedUpgrades(UPGRADES)
  const { count, p95Ms } = await door.honestP95Ms(refusing)
  t.diagnostic(`honest p95 ${p95Ms.toFixed(1)} ms of ${count} beside refused upgrades`)
  const statuses = await refusing
  assert.deepEqual([...statuses.keys()].sort(), [401, 403, 404])
  await door.settled(before.descriptors)
  const giveUp = await door.slowHandshakes(HANDSHAKES)
  await door.honestP95Ms(Promise.resolve())
  giveUp()
  await door.settled(before.descriptors)
  const after = await door.held()
  assert.ok(
    after.liveBytes < before.liveBytes + SLACK_BYTES,
    `${before.liveBytes} → ${after.liveBytes} bytes`,
  )
})
