import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { JsonError, readJson } from '../../config/json-lines.ts'

test('it reads what JSON.parse reads, and refuses what JSON.parse refuses', () => {
  const whole = fc.json({ maxDepth: 5 })
  const damaged = fc
    .tuple(whole, fc.nat(), fc.constantFrom('', '"', ',', '}', ']', '\\', '1', 'x', '\n'))
    .map(
      ([text, at, put]) =>
        text.slice(0, at % (text.length + 1)) + put + text.slice((at % (text.length + 1)) + 1),
    )
  fc.assert(
    fc.property(fc.oneof(whole, damaged), (text) => {
      let expected: { value: unknown } | undefined
      try {
        expected = { value: JSON.parse(text) as unknown }
      } catch {
        assert.throws(() => readJson(text), JsonError)
        return
      }
      try {
        assert.deepEqual(readJson(text).value, expected.value)
      } catch (error) {
        // The one thing that is stricter here.
        assert.ok(
          error instanceof JsonError && error.message.endsWith('a name stands there twice'),
          String(error),
        )
      }
    }),
    { numRuns: 2_000 },
  )
})

test('a mistake is told with its line, and nothing of the text with it', () => {
  const lines: [text: string, line: number][] = [
    ['{\n "a": 1\n "b": 2 }', 3],
    ['{\n "a": hunter2\n}', 2],
    ['{\n\n "a": "hunter2', 3],
    ['{ "a": 1,\n "a": 2 }', 2],
    ['{}\n\n{}', 3],
    ['[1,\n2', 2],
    ['\uFEFF{\n,}', 2],
    [`${'['.repeat(100_000)}`, 1],
    ['{\0"\0', 1],
    ['', 1],
  ]
  for (const [text, line] of lines) {
    assert.throws(
      () => readJson(text),
      (error) => {
        assert.ok(error instanceof JsonError)
        assert.equal(error.line, line, text)
        assert.doesNotMatch(error.message, /hunter2/)
        return true
      },
    )
  }
})

test('every value knows its line, and one that is not there that of what is above it', () => {
  const { lineOf } = readJson('{\n "a": {\n  "b": [1,\n 2] } }')
  assert.deepEqual([lineOf([]), lineOf(['a']), lineOf(['a', 'b']), lineOf(['a', 'b', '1'])], [1, 2, 3, 4])
  assert.equal(lineOf(['a', 'c', 'd']), 2)
})
