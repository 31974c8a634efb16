import assert from 'node:assert/strict'
import dns from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'
import test, { type TestContext } from 'node:test'
import type { TunnelError } from '../../../client/index.ts'
import { drop, startProxy } from '../../support/proxy.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'

const OWN = '192.0.2.77'

/** This computer with an address of which nobody answers, and a name for it. */
function fakeNetwork(t: TestContext): void {
  const networkInterfaces = () => ({ eth0: [{ address: OWN, internal: false }] }) as never
  const lookup = (_name: string, _options: object, done: (error: null, found: object[]) => void) =>
    setImmediate(done, null, [{ address: OWN, family: 4 }])
  const mocked = [
    t.mock.method(os, 'networkInterfaces', networkInterfaces),
    t.mock.method(dns, 'lookup', lookup as never),
  ]
  syncBuiltinESMExports()
  t.after(() => {
    for (const { mock } of mocked) mock.restore()
    syncBuiltinESMExports()
  })
}

test('a rule for all targets leads through a configured host to no address of the proxy itself, by whatever name', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const sshd = await startSshd(t)
  const { host, port, user } = sshd
  const nas = { host, port, user, hostKey: sshd.hostKeys[0] ?? assert.fail(), owners: ['alice'] }
  const rules = [{ effect: 'allow', targets: ['*', `${OWN}:2`] }]
  const set = [`machines=${JSON.stringify({ nas })}`, `policy.rules=${JSON.stringify(rules)}`]
  const proxy = await startProxy(t, { set })
  await sshd.authorize(proxy.app.ssh.publicKey('alice'))
  fakeNetwork(t)
  const alice = await proxy.connect('alice')
  const token = proxy.tokenOf('root', { roles: ['admin'] })
  const ruleOf = async (target: string, kind = 'tcp'): Promise<unknown> => {
    const body = { sub: 'alice', tier: 'enterprise', machine: 'nas', kind, target }
    const answer = await proxy.api(undefined, 'policy/check', { method: 'POST', token, body })
    return ((await answer.json()) as { rule: unknown }).rule
  }
  for (const target of [`${OWN}:1`, '0xc000024d:1', `[64:ff9b::${OWN}]:1`, 'proxy.lan:1']) {
    const refused = alice.open({ machine: 'nas', kind: 'tcp', target })
    await assert.rejects(refused.then(drop), (error: TunnelError) => {
      assert.equal(error.code, 'POLICY_DENIED', target)
      return /one of the proxy itself/.test(error.message)
    })
    assert.equal(await ruleOf(target), "the proxy's own addresses", target)
  }
  assert.equal(await ruleOf(`${OWN}:2`), 'policy.rules[0]')
  // What is sealed goes to its SSH server alone, and that is what is said of it.
  const sealed = alice.open({ machine: 'nas', kind: 'ssh', target: '127.0.0.1:1' })
  await assert.rejects(sealed.then(drop), { code: 'POLICY_DENIED', message: /only be reached at its own/ })
  assert.equal(await ruleOf('127.0.0.1:1', 'ssh'), 'configured hosts')
})
