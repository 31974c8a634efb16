import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Value } from 'typebox/value'
import { globMatches } from '../../../plugins/policy/glob.ts'
import { PolicyOptions } from '../../../plugins/policy/options.ts'
import { decide, type PolicyRequest } from '../../../plugins/policy/rules.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { parseTarget } from '../../../protocol/codec/target.ts'

const user = { sub: 'ada', tier: 'free' as const, roles: ['dev'], expiresAtMs: 0 }
const base: PolicyRequest = {
  user,
  machine: 'home',
  owner: 'ada',
  mode: 'inspected',
  kind: 'tcp',
  target: '127.0.0.1:5432',
}

function allows(rules: PolicyOptions['rules'], request: Partial<PolicyRequest> = {}): boolean {
  try {
    decide(rules, { ...base, ...request })
    return true
  } catch (error) {
    assert.ok(error instanceof TunnelError && error.code === 'POLICY_DENIED', String(error))
    return false
  }
}

test('owners reach their own machines, and nobody else does', () => {
  assert.ok(allows([]))
  assert.ok(!allows([], { owner: 'bob' }))
})

test('no rule opens a machine to somebody else', () => {
  assert.ok(!allows([{ effect: 'allow' }], { owner: 'bob' }))
})

test('the first rule that matches wins', () => {
  const rules: PolicyOptions['rules'] = [
    { effect: 'allow', targets: ['127.0.0.1:*'] },
    { effect: 'deny', kinds: ['tcp'] },
  ]
  assert.ok(allows(rules))
  assert.ok(!allows(rules, { target: '10.0.0.1:80' }))
  assert.ok(allows(rules, { target: '10.0.0.1:80', kind: 'http' }))
})

test('each condition narrows a rule', () => {
  const deny = (condition: object) => [{ effect: 'deny' as const, ...condition }]
  assert.ok(!allows(deny({ users: ['a*'] })))
  assert.ok(allows(deny({ users: ['b*'] })))
  assert.ok(!allows(deny({ tiers: ['free'] })))
  assert.ok(allows(deny({ tiers: ['premium'] })))
  assert.ok(!allows(deny({ roles: ['ops', 'dev'] })))
  assert.ok(allows(deny({ roles: ['ops'] })))
  assert.ok(!allows(deny({ machines: ['h*e'] })))
  assert.ok(allows(deny({ machines: ['office'] })))
  assert.ok(!allows(deny({ modes: ['inspected'] })))
  assert.ok(allows(deny({ modes: ['sealed'] })))
  assert.ok(allows(deny({ targets: ['*'] }), { target: undefined } as never))
  assert.ok(allows(deny({ users: ['ada'], tiers: ['premium'] })))
})

test('the token of an agent holds agent links and opens no stream', () => {
  const agent = { ...user, roles: ['agent'] }
  assert.ok(allows([], { user: agent, kind: 'agent' }))
  for (const kind of ['ssh', 'tcp', 'http', 'exec'] as const) assert.ok(!allows([], { user: agent, kind }))
})

test('a refusal says what and why', () => {
  const rules: PolicyOptions['rules'] = [{ effect: 'deny', reason: 'databases are off limits' }]
  assert.throws(() => decide(rules, base), /tcp to home \(127\.0\.0\.1:5432\): databases are off limits/)
})

test('a mistyped rule is no rule', () => {
  for (const rule of [
    { effect: 'refuse' },
    { effect: 'deny', modes: ['seald'] },
    { effect: 'deny', user: ['ada'] },
    {},
  ]) {
    assert.ok(!Value.Check(PolicyOptions, { rules: [rule] }), JSON.stringify(rule))
  }
})

test('a glob matches what the same regular expression matches', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 })
  const glob = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 8 })
  fc.assert(
    fc.property(glob, text, (pattern, value) => {
      const parts = pattern.split('*').map((part) => part.replaceAll('.', '\\.'))
      assert.equal(globMatches(pattern, value), new RegExp(`^${parts.join('.*')}$`).test(value))
    }),
    { numRuns: 2_000 },
  )
})

const spelled = (text: string): string => parseTarget(text)?.authority ?? assert.fail(text)

test('a rule that denies one name of the loopback denies each of them', () => {
  const hosts = [
    ...['127.0.0.1', 'localhost', 'LocalHost', 'localhost.', 'localhost..', 'web.localhost', '127.0.0.2'],
    ...['127.1', '0', '0.0.0.0', '0x7f.1', '2130706433', '[::1]', '[::]', '[0:0:0:0:0:0:0:1]'],
    ...[
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:2]',
      '[::ffff:0.0.0.0]',
      'ip6-localhost',
      'localhost.localdomain',
    ],
  ]
  for (const denied of ['127.0.0.1:80', 'localhost:80', '[::1]:*', '127.*:80', 'LOCALHOST:80']) {
    const rules: PolicyOptions['rules'] = [{ effect: 'deny', targets: [denied] }]
    for (const host of hosts) {
      assert.ok(!allows(rules, { target: spelled(`${host}:80`) }), `${denied} let ${host} through`)
      if (!denied.endsWith('*')) assert.ok(allows(rules, { target: spelled(`${host}:81`) }), host)
    }
    for (const host of ['10.0.0.1', 'example.com', '[::2]', 'localhost.example.com', '128.0.0.1'])
      assert.ok(allows(rules, { target: spelled(`${host}:80`) }), `${denied} denied ${host}`)
  }
})

test('an address that is written as an IPv6 one is denied and allowed as what it is', () => {
  const target = spelled('[::ffff:10.0.0.7]:22')
  assert.ok(!allows([{ effect: 'deny', targets: ['10.0.0.7:22'] }], { target }))
  assert.ok(allows([{ effect: 'allow', targets: ['10.0.0.*:22'] }, { effect: 'deny' }], { target }))
})

test('a rule that allows one name of the loopback allows no other address of it', () => {
  const rules: PolicyOptions['rules'] = [{ effect: 'allow', targets: ['127.0.0.1:80'] }, { effect: 'deny' }]
  assert.ok(allows(rules, { target: spelled('127.1:80') }))
  for (const host of ['127.0.0.2', 'localhost', '[::1]', '0.0.0.0'])
    assert.ok(!allows(rules, { target: spelled(`${host}:80`) }), host)
})
