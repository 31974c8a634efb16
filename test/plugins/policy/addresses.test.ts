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
