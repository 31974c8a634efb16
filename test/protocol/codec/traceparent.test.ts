import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readTraceparent, writeTraceparent } from '../../../protocol/codec/traceparent.ts'

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
