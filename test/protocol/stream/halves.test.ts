import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  BLOCKED_FLAG,
  END_FLAG,
  encodeFrame,
  FrameType,
  HEADER_BYTES,
  MAX_DATA_BYTES,
  MAX_OFFSET,
  streamNumber,
  TYPE_MASK,
} from '../../../protocol/codec/frames.ts'
import { Budget } from '../../../protocol/stream/budget.ts'
import { ReceiveHalf } from '../../../protocol/stream/receive-half.ts'
import { SendHalf } from '../../../protocol/stream/send-half.ts'
import { KIB, MIB } from '../parties.ts'

const LIMITS = { windowBytes: 256 * KIB, maxWindowBytes: 8 * MIB }
const invalid = { code: 'FRAME_INVALID' }

function sender(limit = 256 * KIB): SendHalf {
  const half = new SendHalf(LIMITS)
  half.acknowledge(0, limit)
  return half
}

function writeTo(half: SendHalf, type: 0x12 | 0x13 | 0x14, bytes: Uint8Array): void {
  if (type === FrameType.EVENT) half.writeFrame(encodeFrame(type, 0, bytes))
  else half.write(type, bytes)
}

function drain(half: SendHalf, maxDataBytes = MAX_DATA_BYTES): Uint8Array[] {
  const frames: Uint8Array[] = []
  for (let frame = half.next(7, maxDataBytes); frame; frame = half.next(7, maxDataBytes)) frames.push(frame)
  return frames
}

test('any writes in any chunks come out in order, END last, within the window, and again after a rewind', () => {
  const write = fc.record({
    type: fc.constantFrom(FrameType.DATA, FrameType.AUX, FrameType.EVENT),
    size: fc.integer({ min: 1, max: 3_000 }),
  })
  const steps = fc.array(fc.oneof(write, fc.constantFrom('next', 'acknowledge', 'rewind')), {
    maxLength: 120,
  })
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 2_000 }), (script, maxDataBytes) => {
      const half = new SendHalf({ windowBytes: 8_000, maxWindowBytes: 32_000 })
      let limit = 8_000
      half.acknowledge(0, limit)
      const written: [number, number][] = []
      const arrived: { type: number; body: Buffer }[] = []
      let sent = 0
      let received = 0
      let position = 0
      let replaying = 0
      let ended = false
      const take = (): boolean => {
        const frame = half.next(3, maxDataBytes)
        if (frame === undefined) return false
        assert.equal(streamNumber(frame), 3)
        // A replayed frame is one that the receiver has.
        if (replaying > 0) {
          replaying -= frame.length
          assert.ok(replaying >= 0)
          return true
        }
        sent += frame.length
        assert.ok(sent <= limit, 'beyond the window')
        assert.ok(sent - received <= 32_000, 'kept beyond the greatest window')
        const type = frame[0]! & TYPE_MASK
        if (type === FrameType.END || (frame[0]! & END_FLAG) !== 0) ended = true
        if (type !== FrameType.END) arrived.push({ type, body: Buffer.from(frame.subarray(HEADER_BYTES)) })
        return true
      }
      for (const step of script) {
        if (step === 'next') take()
        else if (step === 'rewind') {
          half.resume(received, limit)
          replaying = sent - received
        } else if (step === 'acknowledge') {
          received = sent
          limit = Math.max(limit, sent + 8_000)
          replaying = 0
          half.acknowledge(received, limit)
        } else {
          const bytes = Uint8Array.from({ length: step.size }, () => position++ & 0xff)
          writeTo(half, step.type, bytes)
          written.push([step.type, step.size])
        }
      }
      half.end()
      while (!half.done) {
        while (take());
        received = sent
        replaying = 0
        limit = Math.max(limit, sent + 8_000)
        half.acknowledge(received, limit)
      }
      assert.ok(ended)
      let at = 0
      for (const { body } of arrived) for (const byte of body) assert.equal(byte, at++ & 0xff)
      assert.equal(at, position)
      // Frames may join writes of DATA or of AUX, never those of an event.
      const perType = (type: number): number[] => written.filter(([t]) => t === type).map(([, size]) => size)
      const events = arrived.filter(({ type }) => type === FrameType.EVENT)
      assert.deepEqual(
        events.map(({ body }) => body.length),
        perType(FrameType.EVENT),
      )
    }),
    { numRuns: 200 },
  )
})

test('several writes of one turn leave in one frame, and END rides on the last', () => {
  const half = sender()
  for (const text of ['one ', 'two ', 'three']) half.write(FrameType.DATA, Buffer.from(text))
  half.end()
  const frames = drain(half)
  assert.equal(frames.length, 1)
  assert.equal(frames[0]![0], FrameType.DATA | END_FLAG)
  assert.equal(Buffer.from(frames[0]!.subarray(HEADER_BYTES)).toString(), 'one two three')
})

test('END rides on no AUX and on no EVENT, and goes alone where there is nothing to ride on', () => {
  for (const type of [FrameType.AUX, FrameType.EVENT] as const) {
    const half = sender()
    writeTo(half, type, Buffer.from('{}'))
    half.end()
    assert.deepEqual(
      drain(half).map((frame) => frame[0]),
      [type, FrameType.END],
    )
  }
  const half = sender()
  half.end()
  assert.deepEqual(
    drain(half).map((frame) => frame[0]),
    [FrameType.END],
  )
  assert.equal(half.endOffset, HEADER_BYTES)
})

test('a frame that uses the window up says so when there is more', () => {
  const half = sender(64 * KIB)
  half.write(FrameType.DATA, new Uint8Array(100 * KIB))
  const frames = drain(half)
  assert.equal(
    frames.reduce((sum, frame) => sum + frame.length, 0),
    64 * KIB,
  )
  assert.equal(frames.at(-1)![0], FrameType.DATA | BLOCKED_FLAG)
  assert.equal(half.next(7, MAX_DATA_BYTES), undefined, 'a full window is a wait')
})

test('offsets that run backwards, beyond what was sent, inside a frame or past 2^48 are refused', () => {
  const half = sender()
  half.write(FrameType.DATA, new Uint8Array(100))
  writeTo(half, FrameType.EVENT, Buffer.from('{}'))
  drain(half)
  assert.throws(() => half.acknowledge(113, 256 * KIB), invalid, 'beyond what was sent')
  assert.throws(() => half.acknowledge(50, 256 * KIB), invalid, 'inside a frame')
  assert.throws(() => half.acknowledge(0, 256 * KIB - 1), invalid, 'a limit that shrinks')
  assert.throws(() => half.acknowledge(105, MAX_OFFSET + 1), invalid)
  half.acknowledge(105, 256 * KIB)
  assert.throws(() => half.acknowledge(0, 256 * KIB), invalid, 'backwards')
  half.acknowledge(112, 256 * KIB)
  assert.equal(half.unacknowledgedBytes, 0)
})

test('a sender keeps more than its first window only within the budget, and gives it back', () => {
  const budget = new Budget(512 * KIB)
  const half = new SendHalf({ ...LIMITS, budget })
  half.acknowledge(0, 64 * MIB)
  half.write(FrameType.DATA, new Uint8Array(4 * MIB))
  drain(half)
  assert.ok(half.unacknowledgedBytes <= 512 * KIB, `${half.unacknowledgedBytes}`)
  assert.equal(budget.usedBytes, 256 * KIB)
  half.release()
  half.release()
  assert.equal(budget.usedBytes, 0)
})

test('a receiver accepts up to its limit and not a byte more, and nothing after END', () => {
  const half = new ReceiveHalf(LIMITS)
  half.frame(256 * KIB, 256 * KIB - 5, false)
  assert.throws(() => half.frame(1, 0, false), invalid)
  half.consume(256 * KIB - 5)
  half.tell()
  half.frame(5, 0, true)
  assert.throws(() => half.frame(5, 0, false), invalid)
})

test('a window never shrinks, never outgrows its maximum or the budget, and comes back to nought', () => {
  const step = fc.oneof(
    fc.record({ frame: fc.integer({ min: 5, max: 70_000 }) }),
    fc.record({ consume: fc.integer({ min: 0, max: 200_000 }) }),
    fc.constantFrom('blocked' as const, 'tell' as const),
  )
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 200 }),
      fc.integer({ min: 1, max: 64 }),
      (script, budgetQuarters) => {
        const budget = new Budget(budgetQuarters * 256 * KIB)
        const half = new ReceiveHalf({ ...LIMITS, budget })
        let limit = half.limit
        for (const action of script) {
          if (action === 'blocked') half.blocked()
          else if (action === 'tell') {
            const told = half.tell()
            assert.ok(told.limit >= limit, 'a window shrinks')
            limit = told.limit
          } else if ('consume' in action) half.consume(action.consume)
          else if (half.received + action.frame <= limit) half.frame(action.frame, action.frame - 5, false)
          assert.ok(half.windowBytes <= LIMITS.maxWindowBytes)
          assert.ok(budget.usedBytes <= budget.totalBytes)
          assert.ok(half.backlogBytes <= half.windowBytes, 'more is held than the window')
        }
        half.release()
        assert.equal(budget.usedBytes, 0)
      },
    ),
    { numRuns: 200 },
  )
})

test('a budget that is used up refuses a stream, and one stream cannot grow into it', () => {
  const budget = new Budget(512 * KIB)
  const half = new ReceiveHalf({ ...LIMITS, budget })
  const other = new ReceiveHalf({ ...LIMITS, budget })
  assert.throws(() => new ReceiveHalf({ ...LIMITS, budget }), { code: 'TOO_MANY_STREAMS' })
  half.blocked()
  assert.equal(half.windowBytes, 256 * KIB)
  other.release()
  half.blocked()
  assert.equal(half.windowBytes, 512 * KIB)
  half.release()
  assert.equal(budget.usedBytes, 0)
})

test("a peer that acknowledges early what is still in our socket gets nobody else's bytes", () => {
  const [attacked, other] = [sender(), sender()]
  attacked.write(FrameType.DATA, new Uint8Array(60_000).fill(1))
  const inSocket = attacked.next(7, MAX_DATA_BYTES)!
  attacked.acknowledge(inSocket.length, 300_000)
  other.write(FrameType.DATA, new Uint8Array(60_000).fill(2))
  other.next(9, MAX_DATA_BYTES)
  assert.ok(inSocket.subarray(HEADER_BYTES).every((byte) => byte === 1))
  assert.equal(streamNumber(inSocket), 7)
})

test("what an older link's socket may still hold is not written over when a new link has acknowledged it", () => {
  const half = sender()
  half.write(FrameType.DATA, new Uint8Array(60_000).fill(1))
  const inSocket = half.next(7, MAX_DATA_BYTES)!
  half.resume(inSocket.length, 300_000)
  half.write(FrameType.DATA, new Uint8Array(60_000).fill(2))
  half.next(9, MAX_DATA_BYTES)
  assert.ok(inSocket.subarray(HEADER_BYTES).every((byte) => byte === 1))
  assert.equal(streamNumber(inSocket), 7)
})

test('streams that have grown leave half of the budget to others, and give back what they grew by', () => {
  const budget = new Budget(2 * MIB)
  const grown = [0, 1, 2].map(() => new ReceiveHalf({ ...LIMITS, budget }))
  // Each keeps up, and is held up by its window for as often as it likes.
  for (let round = 0; round < 10; round++) for (const half of grown) half.blocked()
  const windows = grown.reduce((sum, half) => sum + half.windowBytes, 0)
  assert.equal(windows, 3 * 512 * KIB)
  const more = [0, 1].map(() => new ReceiveHalf({ ...LIMITS, budget }))
  assert.throws(() => new ReceiveHalf({ ...LIMITS, budget }), { code: 'TOO_MANY_STREAMS' })
  for (const half of [...grown, ...more]) half.release()
  assert.equal(budget.usedBytes, 0)
  assert.ok(budget.grow(MIB))
})
