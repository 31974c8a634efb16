import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  readTraceparent,
  readTracestate,
  traceContextOf,
  writeTraceparent,
} from '../../../protocol/codec/trace-context.ts'

const [TRACE, SPAN] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331']

test('a traceparent is read as W3C Trace Context has it, also of a later version, and written again', () => {
  const parent = { traceId: TRACE, spanId: SPAN, isSampled: true }
  assert.deepEqual(readTraceparent(`00-${TRACE}-${SPAN}-01`), parent)
  assert.deepEqual(readTraceparent(`00-${TRACE}-${SPAN}-02`), { ...parent, isSampled: false })
  assert.deepEqual(readTraceparent(`cc-${TRACE}-${SPAN}-03-what-comes-later`), parent)
  assert.equal(writeTraceparent(parent), `00-${TRACE}-${SPAN}-01`)
})

test('what is no valid traceparent counts as none', () => {
  for (const text of [
    undefined,
    '',
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-01-more`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `cc-${TRACE}-${SPAN}-01more`,
  ])
    assert.equal(readTraceparent(text), undefined, text)
})

test('a tracestate is told on whole, as its list is written, up to 32 entries and 512 characters', () => {
  for (const [text, told] of [
    ['rojo=00f067aa0ba902b7,congo=t61rcWkgMzE', 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE'],
    [' a=1 ,\t, b=2\t,', 'a=1,b=2'],
    ['fw529a3039@dt=FfAAAA==', undefined],
    ['fw529a3039@dt=Ff AA,0digit=~', 'fw529a3039@dt=Ff AA,0digit=~'],
    ['a=1,a=2', 'a=1,a=2'],
    ['', undefined],
    [' , ', undefined],
    ['A=1', undefined],
    ['a', undefined],
    ['a=', undefined],
    ['=1', undefined],
    ['a=\u00e9', undefined],
    ['a=1\n', undefined],
    [`a=${'v'.repeat(256)}`, `a=${'v'.repeat(256)}`],
    [`a=${'v'.repeat(257)}`, undefined],
    [`${'k'.repeat(257)}=v`, undefined],
  ] as const)
    assert.equal(readTracestate(text), told, text)
  const entries = (count: number) => Array.from({ length: count }, (_, n) => `k${n}=v`)
  assert.equal(readTracestate(entries(32).join()), entries(32).join())
  assert.equal(readTracestate(entries(33).join()), undefined)
})

test('of a tracestate that is too long the long entries go first, the last before others, and then the last of all', () => {
  const entry = (key: string, length: number) => `${key}=`.padEnd(length, 'v')
  const [long, longer, brief] = [entry('a', 129), entry('b', 256), entry('c', 128)]
  assert.equal(readTracestate([long, brief, longer].join()), [long, brief].join())
  const briefs = ['d', 'e', 'f', 'g'].map((key) => entry(key, 128))
  assert.equal(readTracestate([long, ...briefs].join()), briefs.slice(0, 3).join())
  assert.equal(readTracestate(briefs.join()), briefs.slice(0, 3).join())
  assert.equal(readTracestate([entry('h', 127), ...briefs].join())?.length, 127 + 2 * 129)
  assert.equal(readTracestate('a=1,'.repeat(10_000)), undefined)
})

test('a stream is whose work its head says, or that of its request; two traceparents are none', () => {
  const [traceparent, tracestate] = [`00-${TRACE}-${SPAN}-01`, 'a=1']
  const http = (...headers: [string, string][]) => ({ http: { method: 'GET', path: '/', headers } })
  const both = { traceparent, tracestate }
  assert.deepEqual(traceContextOf({ ...both, ...http(['traceparent', 'none']) }), both)
  const split = http(['Tracestate', 'a=1'], ['TRACEPARENT', traceparent], ['tracestate', 'b=2'])
  assert.deepEqual(traceContextOf(split), { traceparent, tracestate: 'a=1,b=2' })
  assert.deepEqual(traceContextOf(http(['tracestate', 'a=1'])), {})
  const twice = traceContextOf(http(['traceparent', traceparent], ['traceparent', traceparent]))
  assert.equal(readTraceparent(twice.traceparent), undefined)
})
