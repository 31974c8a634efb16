import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Decisions, type PolicyRequest } from '../../../plugins/policy/decision.ts'
import type { PolicyOptions } from '../../../plugins/policy/options.ts'
import { tiersByDefault } from '../../support/tiers.ts'
import { userOf } from '../../support/user.ts'

type Rules = PolicyOptions['rules']

const TIERS = tiersByDefault()
const allow = (condition: object) => ({ effect: 'allow' as const, ...condition })
const deny = (condition: object) => ({ effect: 'deny' as const, ...condition })

function decide(rules: Rules, target: string, addresses: string[], more: Partial<PolicyRequest> = {}) {
  const decisions = new Decisions({ rules, default: 'owner' }, ({ tier }) => TIERS[tier])
  const user = userOf('bob', { tier: 'enterprise' })
  const request: PolicyRequest = {
    user,
    machine: 'home',
    owner: 'bob',
    mode: 'inspected',
    kind: 'tcp',
    target,
  }
  const { allowed, rule } = decisions.decide({ ...request, ...more }, addresses)
  return `${allowed ? '+' : '-'} ${rule}`
}

test('a rule that denies an address denies every name that leads to it', () => {
  const rules = [deny({ targets: ['10.0.0.0/8:*'] }), allow({ targets: ['*'] })]
  assert.equal(decide(rules, 'web.lan:80', ['192.0.2.1']), '+ policy.rules[1]')
  for (const address of ['10.9.8.7', '64:ff9b::a09:807', '2002:a09:807::1'])
    for (const addresses of [[address], ['192.0.2.1', address]])
      assert.equal(decide(rules, 'web.lan:80', addresses), '- policy.rules[0]', address)
  // Of one port, and of one name of the loopback, which are all the same.
  const ports = [deny({ targets: ['localhost:5432'] }), allow({ targets: ['*'] })]
  assert.equal(decide(ports, 'db.lan:5432', ['127.0.1.1']), '- policy.rules[0]')
  assert.equal(decide(ports, 'db.lan:80', ['127.0.1.1']), '+ policy.rules[1]')
})

test('a name that leads to a metadata address is refused, whatever rule names it', () => {
  const rules = [allow({ targets: ['*', 'web.lan:80'] })]
  for (const address of ['169.254.169.254', '64:ff9b::a9fe:a9fe', 'fe80::1'])
    assert.equal(decide(rules, 'web.lan:80', ['192.0.2.1', address]), '- metadata addresses', address)
})

test("a name that only a glob allows leads to a shared machine's loopback where that itself is allowed", () => {
  const shared = { owner: 'alice' }
  const share = (targets?: string[]) => [allow({ owners: ['alice'], ...(targets && { targets }) })]
  const asked = (targets: string[] | undefined, ...addresses: string[]) =>
    decide([...share(targets), ...(targets ? [] : share(['*.lan:80']))], 'web.lan:80', addresses, shared)
  assert.equal(asked(['*.lan:80'], '192.0.2.1'), '+ policy.rules[0]')
  for (const address of ['127.0.0.1', '127.0.1.1', '::1', '0.0.0.0', '::'])
    assert.equal(asked(['*.lan:80'], address), '- policy.default', address)
  assert.equal(asked(['*:80'], '127.0.0.1'), '+ policy.rules[0]')
  // Whoever has named the host itself trusts whoever answers for it.
  assert.equal(asked(['*.lan:80', 'web.lan:80'], '127.0.0.1'), '+ policy.rules[0]')
  assert.equal(asked(undefined, '127.0.0.1'), '+ policy.rules[1]')
  // Their own machine's services they reach anyway.
  assert.equal(decide([allow({ targets: ['*.lan:80'] })], 'web.lan:80', ['127.0.0.1']), '+ policy.rules[0]')
})

test("an address of the proxy's own is reached through a configured host where a rule names that very address", () => {
  const own = ['10.0.0.5', 'fd12::5']
  const asked = (targets: string[], target: string, addresses: string[] = [], isConfigured = true) => {
    const options: PolicyOptions = { rules: [allow({ targets })], default: 'owner' }
    const decisions = new Decisions(
      options,
      ({ tier }) => TIERS[tier],
      (host) => own.includes(host),
    )
    const user = userOf('bob', { tier: 'enterprise' })
    const request = { user, machine: 'nas', owner: 'bob', mode: 'inspected', kind: 'tcp' } as const
    return decisions.decide({ ...request, target, isConfigured }, addresses).rule
  }
  const itself = "the proxy's own addresses"
  for (const target of ['10.0.0.5:80', '[fd12::5]:80', '[64:ff9b::a00:5]:80', '[2002:a00:5::]:80'])
    for (const glob of ['*', '*:80', '10.0.0.0/8:80', '10.0.0.*:80', '[fd12::]/16:80', '[64:ff9b::]/16:80']) {
      const rule = asked([glob], target)
      assert.ok(rule === itself || rule === 'policy.default', `${glob} lets ${target} in: ${rule}`)
      if (glob === '*') assert.equal(asked([glob], target, [], false), 'policy.rules[0]', target)
    }
  assert.equal(asked(['*'], '10.0.0.6:80'), 'policy.rules[0]')
  assert.equal(asked(['10.0.0.5:80'], '10.0.0.5:80'), 'policy.rules[0]')
  // Of one port, and in no form that some router turns into it.
  assert.equal(asked(['*', '10.0.0.5:80'], '10.0.0.5:81'), itself)
  assert.equal(asked(['*', '10.0.0.5:80'], '[64:ff9b::a00:5]:80'), itself)
  // Nor does a name lead there, also one that a rule names.
  for (const targets of [['*.lan:80'], ['web.lan:80']]) {
    assert.equal(asked(targets, 'web.lan:80', ['192.0.2.1', '10.0.0.5']), itself)
    assert.equal(asked([...targets, '10.0.0.5:80'], 'web.lan:80', ['10.0.0.5']), 'policy.rules[0]')
  }
  // The loopback is the machine's.
  assert.equal(asked(['*'], '127.0.0.1:80'), 'policy.rules[0]')
})
