import assert from 'node:assert/strict'
import { test } from 'node:test'
import denyBySchedule from '../../examples/deny-by-schedule.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { startRig } from '../plugins/forward/rig.ts'

test('the example plugin refuses a command at night, lets it through by day, and leaves HTTP alone', async (t) => {
  let hour = 3
  const rig = await startRig(t, {
    plugins: [(app) => denyBySchedule(app, { now: () => new Date(Date.UTC(2026, 0, 1, hour)) })],
  })
  const exec = () => rig.open({ kind: 'exec', exec: { command: 'echo day' } }, undefined, true)
  await assert.rejects(exec().closed, (error: unknown) => {
    assert.equal((error as TunnelError).code, 'POLICY_DENIED')
    assert.match(String(error), /from 6:00 to 20:00 UTC/)
    return true
  })
  assert.equal(rig.sockets.length, 0)
  const http = rig.open(
    { kind: 'http', target: '127.0.0.1:1', http: { method: 'GET', path: '/', headers: [] } },
    undefined,
    true,
  )
  await assert.rejects(http.closed, (error: unknown) => (error as TunnelError).code === 'CONNECT_REFUSED')
  hour = 12
  const allowed = exec()
  await allowed.closed
  assert.equal(allowed.text, 'day\n')
})
