import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  decodeHead,
  decodeJson,
  encodeFrame,
  encodeHead,
  encodeJson,
  FrameType,
} from '../../../protocol/codec/frames.ts'
import { MAX_JSON_BYTES, MAX_JSON_DEPTH, MAX_JSON_VALUES } from '../../../protocol/codec/json.ts'

const invalid = { code: 'FRAME_INVALID', closeCode: 4400 }

function frameOf(text: string): Uint8Array {
  return encodeFrame(FrameType.RESUME, 1, Buffer.from(text))
}

function nested(depth: number, [open, close]: [string, string] = ['[', ']']): string {
  return `{"a":${open.repeat(depth - 1)}${close.repeat(depth - 1)}}`
}

test('JSON that is nested deeper than is ever meant is refused before it is parsed', () => {
  for (const depth of [MAX_JSON_DEPTH + 1, 5_000, 30_000]) {
    assert.throws(() => decodeJson(frameOf(nested(depth))), invalid, `${depth}`)
    assert.throws(() => decodeJson(frameOf('{"a":'.repeat(Math.min(depth, 10_000)))), invalid)
    const head = Buffer.from(nested(depth))
    const frame = Buffer.concat([Buffer.from([FrameType.OPEN, 0, 0, 0, 1, 0, 0, 0, 0]), head])
    frame.writeUInt32BE(head.length, 5)
    assert.throws(() => decodeHead(frame), invalid)
  }
  assert.ok(decodeJson(frameOf(nested(MAX_JSON_DEPTH))))
})

test('JSON of more values than are ever meant is refused, however short it is', () => {
  const of = (count: number) => ({ a: Array.from({ length: count }, () => 0) })
  assert.ok(decodeJson(encodeJson(FrameType.RESUME, 1, of(MAX_JSON_VALUES - 10))))
  assert.throws(() => decodeJson(encodeJson(FrameType.RESUME, 1, of(MAX_JSON_VALUES))), invalid)
  const objects = `{"a":[${'{},'.repeat(20_000)}{}]}`
  assert.ok(objects.length < MAX_JSON_BYTES)
  assert.throws(() => decodeJson(frameOf(objects)), invalid)
})

test('punctuation inside of texts counts for nothing', () => {
  const text = `\\"${'[{,:'.repeat(10_000)}\\`
  const body = { [text]: text.slice(0, 20_000), b: '"' }
  assert.deepEqual(decodeJson(encodeJson(FrameType.RESUME, 1, body)), body)
  assert.deepEqual(decodeHead(encodeHead(FrameType.OPEN, 1, body)).head, body)
})

test('a request with a thousand headers is an ordinary one', () => {
  const headers = Array.from({ length: 1_000 }, (_, index) => [`x-${index}`, `${index}`])
  assert.ok(decodeHead(encodeHead(FrameType.OPEN, 1, { http: { headers } })).head)
})
