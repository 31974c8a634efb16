import assert from 'node:assert/strict'
import { pipeline, Readable } from 'node:stream'
import { test } from 'node:test'
import { until } from '../../support/proxy.ts'
import { startRig, tcpService } from './rig.ts'

const MIB = 1_048_576

test('two hundred TCP connections of one user stand at once, and leave room for a command', async (t) => {
  const rig = await startRig(t, { config: ['MaxSessions 10'] })
  const target = await tcpService(t, (socket) => socket.pipe(socket))
  const connections = Array.from({ length: 200 }, () => rig.open({ kind: 'tcp', target }))
  await Promise.all(connections.map(({ accepted }) => accepted))
  const states = rig.app.pool.states('ada')
  assert.deepEqual([states.connecting, states.busy + states.idle], [0, 1])
  const command = rig.open({ kind: 'exec', exec: { command: 'echo ran' } }, undefined, true)
  await command.closed
  assert.equal(command.text, 'ran\n')
  await Promise.all(
    connections.map(async (opened, index) => {
      await opened.send(Buffer.from(`${index}`))
      opened.stream.end()
      await opened.closed
      assert.equal(opened.text, `${index}`)
    }),
  )
  await rig.settled()
})

test('a target that refuses costs those beside it nothing', async (t) => {
  const rig = await startRig(t)
  const target = await tcpService(t, (socket) => socket.pipe(socket))
  const good = rig.open({ kind: 'tcp', target })
  await good.accepted
  const bad = rig.open({ kind: 'tcp', target: '127.0.0.1:1' })
  await assert.rejects(bad.closed, { code: 'CONNECT_REFUSED' })
  await good.send(Buffer.from('still here'))
  good.stream.end()
  await good.closed
  assert.equal(good.text, 'still here')
  await rig.settled()
})

test('many clients that read nothing are held to a limit together, and one that reads gets everything', async (t) => {
  const rig = await startRig(t)
  const chunk = Buffer.alloc(65_536)
  const endless = await tcpService(t, (socket) => {
    pipeline(
      new Readable({
        read() {
          this.push(chunk)
        },
      }),
      socket,
      () => {},
    )
  })
  const errors: (string | undefined)[] = []
  const slow = Array.from({ length: 30 }, () => {
    const opened = rig.open({ kind: 'tcp', target: endless })
    opened.hold = true
    opened.closed.catch((error: { code?: string }) => errors.push(error.code))
    return opened
  })
  await until(() => errors.length > 0)
  assert.deepEqual([...new Set(errors)], ['TOO_MANY_STREAMS'])
  const echo = await tcpService(t, (socket) => socket.pipe(socket))
  const good = rig.open({ kind: 'tcp', target: echo })
  await good.send(Buffer.alloc(4 * MIB, 'x'))
  good.stream.end()
  await good.closed
  assert.equal(good.bytes.length, 4 * MIB)
  assert.ok(errors.length < slow.length, 'some of the slow ones are left alone')
})
