import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Priority } from '../../../protocol/codec/heads.ts'
import { type FrameSource, Scheduler } from '../../../protocol/link/scheduler.ts'

/** Has frames of one size for as long as it lasts. */
class Source implements FrameSource {
  readonly compressible = false
  readonly priority: Priority
  readonly frameBytes: number
  left: number
  sentBytes = 0

  constructor(priority: Priority, frameBytes = 1_000, left = Number.POSITIVE_INFINITY) {
    this.priority = priority
    this.frameBytes = frameBytes
    this.left = left
  }

  nextFrame(): Uint8Array | undefined {
    if (this.left === 0) return undefined
    this.left--
    this.sentBytes += this.frameBytes
    return new Uint8Array(this.frameBytes)
  }
}

function run(scheduler: Scheduler, frames: number): void {
  for (let count = 0; count < frames; count++) scheduler.next(65_536)
}

test('a busy link is shared 16 : 4 : 1, whatever the sizes of the frames', () => {
  const sizes = fc.integer({ min: 50, max: 4_000 })
  fc.assert(
    fc.property(sizes, sizes, sizes, (high, normal, low) => {
      const scheduler = new Scheduler()
      const sources = [new Source('high', high), new Source('normal', normal), new Source('low', low)]
      for (const source of sources) scheduler.add(source)
      while (sources[2]!.sentBytes < 200_000) scheduler.next(65_536)
      const [a, b, c] = sources.map((source) => source.sentBytes) as [number, number, number]
      assert.ok(Math.abs(a / c - 16) < 1, `${a} : ${c}`)
      assert.ok(Math.abs(b / c - 4) < 0.5, `${b} : ${c}`)
    }),
    { numRuns: 30 },
  )
})

test('within a priority each has its turn', () => {
  const scheduler = new Scheduler()
  const sources = Array.from({ length: 7 }, () => new Source('normal'))
  for (const source of sources) scheduler.add(source)
  run(scheduler, 7_000)
  for (const source of sources) assert.equal(source.sentBytes, 1_000_000)
})

test('a source that was idle waits for one frame, and gets nothing for the time it was idle', () => {
  const scheduler = new Scheduler()
  const bulk = new Source('low', 65_536)
  scheduler.add(bulk)
  run(scheduler, 1_000)
  const keystroke = new Source('high', 100, 1)
  scheduler.add(keystroke)
  run(scheduler, 2)
  assert.equal(keystroke.sentBytes, 100, 'behind one frame at most')

  const late = new Source('normal', 65_536)
  scheduler.add(late)
  const before = bulk.sentBytes
  run(scheduler, 500)
  const share = (bulk.sentBytes - before) / 65_536
  assert.ok(share > 90 && share < 110, `the bulk stream goes on with its fifth: ${share}`)
})

test('a source is asked once for each time it has something, and not at all when it has left', () => {
  const scheduler = new Scheduler()
  const source = new Source('normal', 10, 2)
  scheduler.add(source)
  scheduler.add(source)
  assert.ok(scheduler.next(1))
  assert.ok(scheduler.next(1))
  assert.equal(scheduler.next(1), undefined)
  source.left = 1
  assert.equal(scheduler.next(1), undefined, 'nobody has said that it has more')
  scheduler.add(source)
  scheduler.remove(source)
  assert.equal(scheduler.next(1), undefined)
})

test('a source may leave while it is asked', () => {
  const scheduler = new Scheduler()
  const leaver: FrameSource = {
    priority: 'normal',
    compressible: false,
    nextFrame() {
      scheduler.remove(leaver)
      return new Uint8Array(1)
    },
  }
  scheduler.add(leaver)
  assert.ok(scheduler.next(1))
  assert.equal(scheduler.next(1), undefined)
})
