import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TunnelError, TunnelService } from '../../../client/index.ts'
import { FaultRelay } from '../../chaos/fault-relay.ts'
import { startProxy, until } from '../../support/proxy.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'

test('a machine that is gone without a word fails by time-out, opens its circuit, slows nobody else, and is back by itself', {
  skip: requireSystem('sshd'),
}, async (t) => {
  // So long that a busy computer carries out the other user's commands in that time.
  const set = [
    ...['request.timeoutMs=6000', 'ssh.connectTimeoutMs=6000'],
    ...['breaker.failures=2', 'breaker.openMs=1000', 'pool.warm=1'],
  ]
  const proxy = await startProxy(t, { set })
  const sshd = await startSshd(t)
  for (const user of ['alice', 'bob']) await sshd.authorize(proxy.app.ssh.publicKey(user))
  const way = await FaultRelay.listen(t, { target: sshd })
  await proxy.startAgent('home', 'alice', `${way.host}:${way.port}`)
  await proxy.startAgent('home', 'bob', sshd)
  const [alice, bob] = await Promise.all([proxy.connect('alice'), proxy.connect('bob')])
  // Made ahead: nobody has asked for anything yet.
  await until(() => proxy.app.pool.states().idle === 2)
  /** What the command said, or why it did not; a command may have run whose machine falls silent. */
  const run = (tunnel: TunnelService): Promise<string> =>
    tunnel.exec('home', ['echo', 'here']).then(
      ({ stdout }) => String(stdout),
      ({ code, cause }: TunnelError) => (code === 'OUTCOME_UNKNOWN' ? (cause as TunnelError).code : code),
    )
  const state = async (name: string): Promise<number> => {
    const text = await (await proxy.api(undefined, 'metrics')).text()
    return Number(
      new RegExp(`^tunnel_circuit_breaker_state\\{state="${name}"\\} (\\d+)$`, 'm').exec(text)?.[1],
    )
  }
  assert.equal(await run(alice), 'here\n')

  way.freeze()
  const failures: string[] = []
  const failing = (async () => {
    for (let outcome = await run(alice); outcome !== 'CIRCUIT_OPEN'; outcome = await run(alice))
      failures.push(outcome)
  })()
  const bystander: string[] = []
  let isOver = false
  void failing.then(() => {
    isOver = true
  })
  while (!isOver) bystander.push(await run(bob))
  await failing
  assert.equal(failures[0], 'TIMEOUT')
  // The one that was asked for, what came while its connection was asked, and one that made none.
  assert.ok(failures.length >= 2 && failures.length <= 4, failures.join())
  assert.ok(
    failures.every((code) => ['TIMEOUT', 'AGENT_LOST'].includes(code)),
    failures.join(),
  )
  assert.ok(bystander.length > 0 && bystander.every((outcome) => outcome === 'here\n'), bystander.join())
  assert.equal(await state('open'), 1)

  way.thaw()
  await until(async () => (await run(alice)) === 'here\n')
  assert.equal(await state('open'), 0)
  assert.equal(await proxy.metric('tunnel_circuit_transitions_total'), 3)
})
