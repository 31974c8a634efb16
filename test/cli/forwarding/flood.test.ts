import assert from 'node:assert/strict'
import test from 'node:test'
import { listenTcp } from '../../support/proxy.ts'
import { requireSystem } from '../../support/sshd.ts'
import { Caller, portOf, startGround } from './forwarding.ts'

test('a flood of connections is held to what there are descriptors for, says so, and ends nothing', {
  skip: requireSystem('sshd', 'sh'),
}, async (t) => {
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const { proxy, start } = await startGround(t, [echo])
  const program = await start(['forward', `0:home:${echo}`], 80)
  const port = await portOf(program, echo)
  const first = new Caller(t, port)
  await first.ask('before')
  const flood = Array.from({ length: 120 }, () => new Caller(t, port))
  const ends = await Promise.all(
    flood.map((caller) => Promise.race([caller.over, caller.ask('hello').catch(() => caller.over)])),
  )
  const carried = ends.filter((end) => end === 'hello').length
  assert.ok(carried > 10 && carried < 80, `${carried} of 120 are carried`)
  assert.deepEqual([...new Set(ends)].sort(), ['ECONNRESET', 'hello'])
  await program.line(
    /: \d+ local connections are open, and one more was turned away \(client, TOO_MANY_CONNECTIONS\)/,
    'stderr',
  )
  assert.ok(program.stderr.split('\n').length < 20, program.stderr)
  // There is a descriptor left for another link.
  proxy.cut('client')
  assert.equal(await first.ask('after'), 'beforeafter')
  for (const { socket } of flood) socket.destroy()
  assert.equal(await first.ask('again'), 'beforeafteragain')
  const later = new Caller(t, port)
  assert.equal(await later.ask('hello'), 'hello')
})
