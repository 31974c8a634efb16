import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Value } from 'typebox/value'
import { loadSettings } from '../../../config/index.ts'
import { Decisions, type PolicyRequest } from '../../../plugins/policy/decision.ts'
import { globMatches } from '../../../plugins/policy/glob.ts'
import { PolicyOptions } from '../../../plugins/policy/options.ts'
import { targetPattern } from '../../../plugins/policy/targets.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { parseTarget } from '../../../protocol/codec/target.ts'
import { tiersByDefault } from '../../support/tiers.ts'
import { tempFolder } from '../../support/tree.ts'
import { userOf } from '../../support/user.ts'

const user = userOf('ada', { tier: 'free', roles: ['dev'] })
const base: PolicyRequest = {
  user,
  machine: 'home',
  owner: 'ada',
  mode: 'inspected',
  kind: 'tcp',
  target: '127.0.0.1:5432',
}
type Rules = PolicyOptions['rules']

const TIERS = tiersByDefault()
TIERS.free.kinds = ['ssh', 'tcp', 'http', 'exec', 'sftp']

type Asked = { [Name in keyof PolicyRequest]?: PolicyRequest[Name] | undefined }

function decide(rules: Rules, request: Asked = {}, byDefault: 'owner' | 'deny' = 'owner') {
  const decisions = new Decisions({ rules, default: byDefault }, ({ tier }) => TIERS[tier])
  return decisions.decide({ ...base, ...request } as PolicyRequest)
}

const allows = (...given: Parameters<typeof decide>): boolean => decide(...given).allowed
const none = { target: undefined }
const bobs = { user: userOf('bob', { tier: 'free' }) }
const lan = { target: '10.0.0.9:80' }
const allow = (condition: object = {}) => ({ effect: 'allow' as const, ...condition })
const deny = (condition: object = {}) => ({ effect: 'deny' as const, ...condition })

test('each request is decided by the rule or the default that the table says', () => {
  const shared = allow({ users: ['bob'], owners: ['ada'], machines: ['home'], kinds: ['tcp', 'exec'] })
  const table: [rules: Rules, request: Asked, decided: string, byDefault?: 'deny'][] = [
    // What holds without rules.
    [[], {}, '+ policy.default'],
    [[], none, '+ policy.default'],
    [[], lan, '- policy.default'],
    [[], { ...lan, mode: 'sealed', kind: 'ssh' }, '+ policy.default'],
    [[], { owner: 'bob' }, '- policy.default'],
    [[], { kind: 'agent', mode: 'sealed', ...none }, '+ policy.default'],
    [[], { kind: 'agent', owner: 'bob' }, '- policy.default'],
    [[], {}, '- policy.default', 'deny'],
    [[], { kind: 'agent', ...none }, '+ policy.default', 'deny'],
    [[allow()], {}, '+ policy.rules[0]', 'deny'],
    [[allow({ kinds: ['exec'] })], {}, '- policy.default', 'deny'],
    // What no rule can give.
    [[allow({ targets: ['*'] })], { target: '169.254.169.254:80' }, '- metadata addresses'],
    [[allow({ targets: ['*'] })], { user: userOf('ada', { roles: ['agent', 'admin'] }) }, '- role agent'],
    [[allow({ owners: ['*'] })], { owner: 'bob', kind: 'agent' }, '- policy.default'],
    [[allow()], { kind: 'shell', ...none }, '- tiers.free.kinds'],
    [[allow({ targets: ['*'] })], { kind: 'ssh', mode: 'sealed', isConfigured: true }, '- configured hosts'],
    [[], { kind: 'ssh', mode: 'sealed', isConfigured: true, ...none }, '+ policy.default'],
    [[], { kind: 'shell', owner: 'bob', ...none }, '- policy.default'],
    // Deny goes before allow, wherever it stands.
    [[allow(), deny({ kinds: ['tcp'] })], {}, '- policy.rules[1]'],
    [[deny({ kinds: ['tcp'] }), allow()], {}, '- policy.rules[0]'],
    [[allow({ targets: ['*'] }), deny({ targets: ['10.0.0.0/24:*'] })], lan, '- policy.rules[1]'],
    [[deny({ kinds: ['agent'] })], { kind: 'agent', ...none }, '- policy.rules[0]'],
    [[deny(), allow({ kinds: ['shell'] })], { kind: 'shell', ...none }, '- policy.rules[0]'],
    // An allowing rule widens what it says that it widens, and nothing else.
    [[allow()], lan, '- policy.default'],
    [[allow({ targets: ['10.0.0.0/24:80-89'] })], lan, '+ policy.rules[0]'],
    [[allow({ targets: ['10.0.0.0/24:81-89'] })], lan, '- policy.default'],
    [[allow({ users: ['bob'] })], bobs, '- policy.default'],
    [[shared], bobs, '+ policy.rules[0]'],
    [[shared], { ...bobs, kind: 'exec', ...none }, '+ policy.rules[0]'],
    [[shared], { ...bobs, kind: 'sftp', ...none }, '- policy.default'],
    [[shared], { ...bobs, ...lan }, '- policy.default'],
    [[shared], { ...bobs, machine: 'nas' }, '- policy.default'],
    [[shared], { ...bobs, owner: 'carol' }, '- policy.default'],
    [[shared], { user: userOf('eve') }, '+ policy.default'.replace('+', '-')],
    [[shared, deny({ users: ['b*'], targets: ['localhost:5432'] })], bobs, '- policy.rules[1]'],
    [[allow({ roles: ['user'], owners: ['ada'] })], bobs, '+ policy.rules[0]'],
    [[allow({ tiers: ['premium'], owners: ['ada'] })], bobs, '- policy.default'],
  ]
  for (const [rules, request, decided, byDefault] of table) {
    const { allowed, rule, code, reason } = decide(rules, request, byDefault ?? 'owner')
    const what = JSON.stringify([rules, request])
    assert.equal(`${allowed ? '+' : '-'} ${rule}`, decided, `${what}: ${reason}`)
    if (allowed) assert.equal(code, undefined)
    else assert.equal(code, rule.startsWith('tiers.') ? 'TIER_REQUIRED' : 'POLICY_DENIED', what)
  }
})

test('each condition narrows a rule', () => {
  assert.ok(!allows([deny({ users: ['a*'] })]))
  assert.ok(allows([deny({ users: ['b*'] })]))
  assert.ok(!allows([deny({ tiers: ['free'] })]))
  assert.ok(allows([deny({ tiers: ['premium'] })]))
  assert.ok(!allows([deny({ roles: ['ops', 'dev'] })]))
  assert.ok(allows([deny({ roles: ['ops'] })]))
  assert.ok(!allows([deny({ owners: ['ada'] })]))
  assert.ok(allows([deny({ owners: ['bob'] })]))
  assert.ok(!allows([deny({ machines: ['h*e'] })]))
  assert.ok(allows([deny({ machines: ['office'] })]))
  assert.ok(!allows([deny({ modes: ['inspected'] })]))
  assert.ok(allows([deny({ modes: ['sealed'] })]))
  assert.ok(allows([deny({ targets: ['*'] })], none))
  assert.ok(allows([deny({ users: ['ada'], tiers: ['premium'] })]))
})

test('who may use a machine of somebody else knows of it, and nobody else does', () => {
  const rules = [
    allow({ users: ['bob', 'carol'], owners: ['ada', 'team-*'], machines: ['home', 'nas'] }),
    deny({ users: ['carol'], machines: ['nas'] }),
    deny({ users: ['bob'], machines: ['nas'], kinds: ['exec'] }),
  ]
  const decisions = new Decisions({ rules, default: 'owner' }, ({ tier }) => TIERS[tier])
  const of = (sub: string, owner: string, machine: string) =>
    decisions.sharedWith(userOf(sub))?.includes(owner, machine) ?? false
  assert.ok(of('bob', 'ada', 'home') && of('bob', 'team-x', 'nas') && of('carol', 'ada', 'home'))
  assert.ok(!of('carol', 'ada', 'nas') && !of('bob', 'ada', 'desk') && !of('bob', 'eve', 'home'))
  assert.equal(decisions.sharedWith(userOf('eve')), undefined)
})

test('a mistyped rule is no rule', () => {
  for (const rule of [
    { effect: 'refuse' },
    deny({ modes: ['seald'] }),
    deny({ user: ['ada'] }),
    deny({ users: ['two words'] }),
    deny({ users: [] }),
    deny({ machines: ['Home'] }),
    deny({ targets: ['nothing'] }),
    {},
  ]) {
    assert.ok(!Value.Check(PolicyOptions, { rules: [rule], default: 'owner' }), JSON.stringify(rule))
  }
})

test('a configured machine that nobody could name, or at a metadata address, stops the start', async (t) => {
  const stateDir = await tempFolder(t, 'policy')
  const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBL0gCvVwXyV8CkN3CHd1Jm3k8yYwqIwQ0gI0R0aXJkQ'
  const load = (name: string, host: string) => {
    const machines = { [name]: { host, user: 'me', hostKey, owners: ['ada'] } }
    return () => loadSettings({ stateDir, env: {}, flags: [`machines=${JSON.stringify(machines)}`] })
  }
  const wrong = [
    ['web.1', '10.0.0.7'],
    ['Home', '10.0.0.7'],
    ['a/b', '10.0.0.7'],
    ['nas', '0xa9fea9fe'],
    ['nas', 'metadata'],
  ]
  for (const [name = '', host = ''] of wrong)
    assert.throws(
      load(name, host),
      (error) => error instanceof TunnelError && error.message.includes(`machines.${name}`),
      name,
    )
  load('nas', '127.0.0.1')()
})

test('a target that is none stops the start, and says where it stands', () => {
  const wrong = [
    '10.0.0.0/33:22',
    '10.0.0/8:22',
    'home:0',
    'home:70000',
    'home:90-80',
    'a b:22',
    '[::1:22',
    'x/y:1',
  ]
  for (const text of wrong) {
    assert.equal(targetPattern(text), undefined, text)
    const rules = [allow(), deny({ targets: ['*:1', text] })]
    assert.throws(
      () => decide(rules),
      (error) =>
        error instanceof TunnelError &&
        error.code === 'CONFIG_INVALID' &&
        error.message.startsWith(`policy.rules[1].targets[1] = ${JSON.stringify(text)}`),
    )
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
  const elsewhere = ['10.0.0.1', 'example.com', '[::2]', 'localhost.example.com', '128.0.0.1']
  for (const denied of [
    '127.0.0.1:80',
    'localhost:80',
    '[::1]:*',
    '127.*:80',
    'LOCALHOST:80',
    '127.0.0.0/8:80',
  ]) {
    const rules = [allow({ targets: ['*'] }), deny({ targets: [denied] })]
    for (const host of hosts) {
      assert.ok(!allows(rules, { target: spelled(`${host}:80`) }), `${denied} let ${host} through`)
      if (!denied.endsWith('*')) assert.ok(allows(rules, { target: spelled(`${host}:81`) }), host)
    }
    for (const host of elsewhere)
      assert.ok(allows(rules, { target: spelled(`${host}:80`) }), `${denied} denied ${host}`)
  }
})

test('an address is denied and allowed as what it is, however it is written', () => {
  const ways = ['10.0.0.7', '10.7', '167772167', '0x0a000007', '012.0.0.07', '10.0.0.7.', '[::ffff:10.0.0.7]']
  for (const way of [...ways, '[::FFFF:a00:7]', '[0:0:0:0:0:ffff:10.0.0.7]']) {
    const target = spelled(`${way}:22`)
    for (const pattern of [
      '10.0.0.7:22',
      '10.0.0.*:22',
      '10.0.0.0/8:20-29',
      '[::ffff:10.0.0.7]:22',
      '10.7:*',
    ]) {
      const rules = [allow({ targets: [pattern] })]
      assert.ok(allows(rules, { target }), `${pattern} is not ${way}`)
      assert.ok(!allows([allow({ targets: ['*'] }), deny({ targets: [pattern] })], { target }), way)
      assert.ok(!allows(rules, { target: spelled('10.0.0.7.example.com:22') }), pattern)
      assert.ok(!allows(rules, { target: spelled('11.0.0.7:22') }), pattern)
    }
  }
  // What some router may turn into it is denied with it, and not allowed with it.
  for (const way of ['[64:ff9b::a00:7]', '[2002:a00:7::]', '[::a00:7]']) {
    const target = spelled(`${way}:22`)
    assert.ok(!allows([allow({ targets: ['*'] }), deny({ targets: ['10.0.0.7:22'] })], { target }), way)
    assert.ok(!allows([allow({ targets: ['10.0.0.7:22'] })], { target }), way)
  }
})

test('no spelling of a metadata address is reached, whatever the rules say', () => {
  const hosts = [
    ...[
      '169.254.169.254',
      '2852039166',
      '0xa9fea9fe',
      '0251.0376.0251.0376',
      '169.254.43518',
      '169.254.170.2',
    ],
    ...[
      '[::ffff:169.254.169.254]',
      '[64:ff9b::169.254.169.254]',
      '[2002:a9fe:a9fe::1]',
      '[::169.254.169.254]',
    ],
    ...['[fe80::a9fe:a9fe]', '[fd00:ec2::254]', '[fd00:0ec2:0:0::254]', '[fd20:ce::254]'],
    ...[
      '100.100.100.200',
      '168.63.129.16',
      '192.0.0.192',
      'metadata',
      'METADATA.google.internal.',
      'instance-data',
    ],
  ]
  const rules = [allow({ targets: ['*', '*:80', '169.254.169.254:80'] })]
  for (const host of hosts) {
    for (const mode of ['inspected', 'sealed'] as const) {
      const { rule } = decide(rules, {
        target: spelled(`${host}:80`),
        mode,
        kind: mode === 'sealed' ? 'ssh' : 'tcp',
      })
      assert.equal(rule, 'metadata addresses', host)
    }
  }
  assert.ok(allows(rules, { target: '169.253.1.1:80' }))
  // No zone id and no port beyond the last is a target at all.
  for (const text of ['[fe80::1%eth0]:80', '[::1%lo]:80', '127.0.0.1:65536', '127.0.0.1:080', 'ｅxample:80'])
    assert.equal(parseTarget(text), undefined, text)
})

test('a rule that allows one name of the loopback allows no other address of it where the default does not', () => {
  const rules = [allow({ targets: ['127.0.0.1:80'] })]
  assert.ok(allows(rules, { target: spelled('127.1:80') }, 'deny'))
  for (const host of ['127.0.0.2', 'localhost', '[::1]', '0.0.0.0', 'ip6-localhost'])
    assert.ok(!allows(rules, { target: spelled(`${host}:80`) }, 'deny'), host)
})
