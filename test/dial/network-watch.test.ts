import assert from 'node:assert/strict'
import { test } from 'node:test'
import { watchNetwork } from '../../dial/network-watch.ts'

test('a change of address and a sleep are told, quiet seconds are not', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  let address = 'eth0 10.0.0.1'
  let nowMs = 0
  let changes = 0
  const stop = watchNetwork(
    () => changes++,
    () => address,
    () => nowMs,
  )
  const second = (passedMs = 1_000) => {
    nowMs += passedMs
    t.mock.timers.tick(1_000)
  }
  second()
  assert.equal(changes, 0)
  address = 'wlan0 192.168.1.2'
  second()
  second()
  assert.equal(changes, 1)
  second(60_000)
  assert.equal(changes, 2)
  stop()
  address = 'none'
  second()
  assert.equal(changes, 2)
})
