import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import {
  copyFrame,
  decodeHead,
  decodeJson,
  decodeWindow,
  encodeFrame,
  encodeHead,
  encodeJson,
  encodeWindow,
  FrameType,
  HEADER_BYTES,
  isCounted,
  isKnownType,
  MAX_OFFSET,
  MAX_STREAM_NUMBER,
  setStreamNumber,
  streamNumber,
} from '../../../protocol/codec/frames.ts'
import { MAX_JSON_BYTES } from '../../../protocol/codec/json.ts'

const streams = fc.integer({ min: 0, max: MAX_STREAM_NUMBER })
const offsets = fc.integer({ min: 0, max: MAX_OFFSET })
const invalid = { code: 'FRAME_INVALID' }

test('a WINDOW carries any pair of u48 offsets', () => {
  fc.assert(
    fc.property(streams, offsets, offsets, (stream, received, limit) => {
      const frame = encodeWindow(stream, { received, limit })
      assert.equal(frame.length, HEADER_BYTES + 12)
      assert.equal(streamNumber(frame), stream)
      assert.deepEqual(decodeWindow(frame), { received, limit })
    }),
  )
})

test('a head and the first bytes behind it come out as they went in', () => {
  fc.assert(
    fc.property(
      streams,
      fc.dictionary(fc.string(), fc.jsonValue()),
      fc.uint8Array(),
      (stream, head, first) => {
        const frame = encodeHead(FrameType.OPEN, stream, head, first)
        const decoded = decodeHead(frame)
        assert.deepEqual(decoded.head, JSON.parse(JSON.stringify(head)))
        assert.deepEqual(Buffer.from(decoded.first), Buffer.from(first))
        assert.equal(streamNumber(frame), stream)
      },
    ),
  )
})

test('a stream number is written over in place, and in a copy alone', () => {
  fc.assert(
    fc.property(streams, streams, fc.uint8Array(), (before, after, body) => {
      const frame = encodeFrame(FrameType.DATA, before, body)
      const copy = copyFrame(frame)
      setStreamNumber(copy, after)
      assert.equal(streamNumber(copy), after)
      assert.equal(streamNumber(frame), before)
      assert.deepEqual(copy.subarray(HEADER_BYTES), frame.subarray(HEADER_BYTES))
    }),
  )
})

test('whatever a body holds, decoding it gives a value or FRAME_INVALID', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const frame = encodeFrame(FrameType.OPEN, 1, bytes)
      for (const decode of [decodeHead, decodeJson, decodeWindow]) {
        try {
          decode(frame)
        } catch (error) {
          assert.ok(error instanceof TunnelError)
          assert.equal(error.code, 'FRAME_INVALID')
        }
      }
    }),
    { numRuns: 500 },
  )
})

test('a JSON body is an object in valid UTF-8 of a bounded length', () => {
  for (const value of [null, 1, 'text', [1], true]) {
    assert.throws(() => decodeJson(encodeJson(FrameType.HELLO, 0, value)), invalid)
  }
  assert.throws(() => decodeJson(encodeFrame(FrameType.HELLO, 0, new Uint8Array([0xff, 0xfe]))), invalid)
  assert.throws(() => decodeJson(encodeFrame(FrameType.HELLO, 0)), invalid)
  const long = { text: 'x'.repeat(MAX_JSON_BYTES) }
  assert.throws(() => decodeJson(encodeJson(FrameType.HELLO, 0, long)), invalid)
  assert.throws(() => decodeHead(encodeHead(FrameType.OPEN, 1, long)), invalid)
})

test('a head that is longer than its frame is refused', () => {
  const frame = encodeHead(FrameType.OPEN, 1, {})
  new DataView(frame.buffer, frame.byteOffset).setUint32(HEADER_BYTES, 0xffffffff)
  assert.throws(() => decodeHead(frame), invalid)
  assert.throws(() => decodeHead(encodeFrame(FrameType.OPEN, 1, new Uint8Array(3))), invalid)
})

test('each type has its own flags and no others', () => {
  const may: Record<number, number[]> = {
    [FrameType.OPEN]: [0x80],
    [FrameType.ACCEPT]: [0x80],
    [FrameType.DATA]: [0x80, 0x40, 0xc0],
    [FrameType.AUX]: [0x40],
  }
  const known = new Set<number>(Object.values(FrameType))
  for (let byte = 0; byte < 256; byte++) {
    const type = byte & 0x3f
    const flags = byte & 0xc0
    const expected = known.has(type) && (flags === 0 || (may[type]?.includes(flags) ?? false))
    assert.equal(isKnownType(byte), expected, `0x${byte.toString(16)}`)
  }
})

test('ACCEPT, DATA, AUX, EVENT and END are counted, and nothing else', () => {
  const counted = Object.entries(FrameType).filter(([, type]) => isCounted(type))
  assert.deepEqual(counted.map(([name]) => name).sort(), ['ACCEPT', 'AUX', 'DATA', 'END', 'EVENT'])
})
