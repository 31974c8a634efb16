import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type TSchema, Type } from 'typebox'
import { Value } from 'typebox/value'
import { isGroup, type SchemaNode, settingsOf } from '../../config/nodes.ts'
import { SettingsSchema } from '../../config/schema.ts'
import { allowedText, isAllowed, NOT_PARSED, parseText } from '../../config/values.ts'
import { nearest } from '../../protocol/nearest.ts'

const ROOT = SettingsSchema as unknown as SchemaNode

const VALUES: unknown[] = [
  ...[
    null,
    true,
    false,
    '',
    'a',
    'info',
    'TLSv1.3',
    'embedded',
    'x'.repeat(300),
    [],
    [''],
    ['a'],
    [1],
    {},
    { a: 1 },
  ],
  ...[
    0,
    -1,
    1,
    0.5,
    1.5,
    99,
    100,
    3_001,
    65_535,
    65_536,
    131_072,
    1e9,
    1e15,
    Number.NaN,
    Infinity,
    '1',
    'true',
  ],
  ...[
    [{ effect: 'allow' }],
    [{ effect: 'maybe' }],
    [{ effect: 'deny', users: ['a'] }],
    [{ effect: 'deny', other: 1 }],
  ],
  ...[{ host: 'h' }, { home: { host: 'h', port: 22, user: 'u' } }, { home: {} }, { cert: 'a', key: 'b' }],
]

test('what is allowed is what TypeBox allows, for every setting and every kind of value', () => {
  let compared = 0
  for (const [path, node] of settingsOf(ROOT)) {
    for (const value of VALUES) {
      const typebox = Value.Check(node as TSchema, value)
      assert.equal(isAllowed(node, value), typebox, `${path.join('.')} = ${JSON.stringify(value)}`)
      compared++
    }
  }
  assert.ok(compared > 1_000)
})

test('every default is an allowed value of its setting', () => {
  for (const [path, node] of settingsOf(ROOT)) {
    if (!('default' in node) || isGroup(node)) continue
    assert.ok(isAllowed(node, node.default), `${path.join('.')} = ${JSON.stringify(node.default)}`)
  }
})

test('no schema uses a keyword that this check does not know', () => {
  const known = new Set(
    [
      'type',
      'const',
      'anyOf',
      'properties',
      'patternProperties',
      'required',
      'items',
      'default',
      'minimum',
    ].concat(
      ['maximum', 'minLength', 'maxLength', 'minItems', 'maxItems', 'pattern', 'description', 'secret'],
      ['additionalProperties', 'propertyNames'],
    ),
  )
  const visit = (node: SchemaNode, path: string) => {
    for (const keyword of Object.keys(node)) assert.ok(known.has(keyword), `${path}: ${keyword}`)
    // Without it, a mistyped name inside an object would be let through.
    if (node.properties !== undefined) {
      assert.equal((node as { additionalProperties?: unknown }).additionalProperties, false, path)
    }
    for (const [name, child] of Object.entries(node.properties ?? {})) visit(child, `${path}.${name}`)
    for (const child of Object.values(node.patternProperties ?? {})) visit(child, `${path}.*`)
    for (const child of [...(node.anyOf ?? []), ...(node.items ? [node.items] : [])])
      visit(child, `${path}[]`)
  }
  visit(ROOT, 'settings')
})

test('text is parsed by the schema, and never guessed at', () => {
  const parse = (schema: TSchema, text: string) => parseText(schema as SchemaNode, text)
  const integer = Type.Integer({ minimum: 1 })
  assert.equal(parse(integer, '30_000'), 30_000)
  assert.equal(parse(integer, '-5'), -5)
  for (const text of ['', ' ', '5s', '0x10', '1e3', '1,000', '1_0', '٣', 'NaN', 'Infinity', '+1', '5 ']) {
    assert.equal(parse(integer, text), NOT_PARSED, text)
  }
  assert.equal(parse(Type.Number(), '0.25'), 0.25)
  assert.equal(parse(Type.Boolean(), 'true'), true)
  assert.equal(parse(Type.Boolean(), 'false'), false)
  for (const text of ['1', 'yes', 'TRUE', 'on', ''])
    assert.equal(parse(Type.Boolean(), text), NOT_PARSED, text)
  assert.equal(parse(Type.String(), '5'), '5')
  assert.deepEqual(parse(Type.Array(Type.String()), 'a, b,c'), ['a', 'b', 'c'])
  assert.deepEqual(parse(Type.Array(Type.String()), '["a,b"]'), ['a,b'])
  assert.deepEqual(parse(Type.Array(Type.Integer()), '1,2'), [1, 2])
  assert.equal(parse(Type.Array(Type.Integer()), '1,x'), NOT_PARSED)
  const either = Type.Union([Type.Boolean(), Type.Array(Type.String({ minLength: 1 }))])
  assert.equal(parse(either, 'false'), false)
  assert.deepEqual(parse(either, '10.0.0.0/8,::1'), ['10.0.0.0/8', '::1'])
  const level = Type.Union([Type.Literal('info'), Type.Literal('debug')])
  assert.equal(parse(level, 'debug'), 'debug')
  assert.equal(parse(level, 'DEBUG'), NOT_PARSED)
})

test('what is allowed is said in words', () => {
  const text = (schema: TSchema) => allowedText(schema as SchemaNode)
  assert.equal(text(Type.Integer({ minimum: 1, maximum: 5 })), 'a whole number from 1 to 5')
  assert.equal(text(Type.Integer({ minimum: 1 })), 'a whole number of at least 1')
  assert.equal(text(Type.Boolean()), 'true or false')
  assert.equal(text(Type.Union([Type.Literal('a'), Type.Literal('b')])), 'one of "a", "b"')
  assert.equal(
    text(Type.Union([Type.Boolean(), Type.Array(Type.String())])),
    'true or false, or a list of: text',
  )
})

test('the nearest name is found, and a far one is not offered', () => {
  const names = ['heartbeat.intervalMs', 'heartbeat.timeoutMs', 'pool.idleMs']
  assert.equal(nearest('heartbeat.intervallMs', names), 'heartbeat.intervalMs')
  assert.equal(nearest('heartbeat.interval', names), 'heartbeat.intervalMs')
  assert.equal(nearest('hartbeat.timeoutms', names), 'heartbeat.timeoutMs')
  assert.equal(nearest('banana', names), undefined)
  const machines = ['home', 'nas', 'office']
  for (const slip of ['hoem', 'hme', 'homee', 'Home', 'hone', 'hom'])
    assert.equal(nearest(slip, machines), 'home', slip)
  for (const slip of ['offcie', 'ofice', 'offise', 'oficce'])
    assert.equal(nearest(slip, machines), 'office', slip)
  for (const other of ['nope', 'some-', 'hat', 'x', 'work', 'nest'])
    assert.equal(nearest(other, machines), undefined, other)
})
