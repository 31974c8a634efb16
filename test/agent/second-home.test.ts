import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { SecondHome } from '../../agent/second-home.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'

test('a second home that is not found in eight tries is looked for again every 30 s, and quickly once it was there', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let dials = 0
  const refusal = () => new TunnelError('ALREADY_HOME', 'it has a link here', { hop: 'proxy' })
  const connection = Object.assign(new EventEmitter(), {
    connect() {
      dials++
      return Promise.reject(refusal())
    },
    async close() {},
  })
  const home = new SecondHome({ connection: connection as never, takenOver: () => assert.fail() })
  /** After the refusal was heard. */
  const pass = async (ms: number) => {
    for (let turn = 0; turn < 5; turn++) await undefined
    t.mock.timers.tick(ms)
  }
  home.want()
  home.want()
  for (let dial = 2; dial <= 8; dial++) {
    await pass(250)
    assert.equal(dials, dial)
  }
  for (const dial of [9, 10]) {
    await pass(29_999)
    assert.equal(dials, dial - 1)
    await pass(1)
    assert.equal(dials, dial)
  }
  connection.emit('link')
  connection.emit('failed', refusal())
  await pass(250)
  assert.equal(dials, 11)
  await home.close()
  await pass(60_000)
  assert.equal(dials, 11)
})
