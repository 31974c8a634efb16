import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isTelling, TailProcessor } from '../../../plugins/tracing/tail.ts'

type Span = Parameters<TailProcessor['onEnd']>[0]

function spanOf(traceId: string, more: { resumes?: number; status?: number; sampled?: boolean } = {}): Span {
  const { resumes = 0, status = 0, sampled = false } = more
  return {
    spanContext: () => ({ traceId, spanId: '1', traceFlags: sampled ? 1 : 0 }),
    ...{ attributes: { resumes }, status: { code: status } },
  } as unknown as Span
}

test('traces that end undecided, and those that never end, take a bounded place, and leave it', () => {
  const kept: Span[] = []
  const tail = new TailProcessor({ add: (span) => void kept.push(span) }, isTelling)
  const parents = Array.from({ length: 30_000 }, (_, index) => spanOf(String(index)))
  for (const parent of parents) {
    tail.onStart(parent)
    tail.onStart(parent)
    tail.onEnd(parent)
  }
  assert.ok(tail.size.traces <= 20_000 && tail.size.spans <= 10_000, JSON.stringify(tail.size))
  for (const parent of parents) tail.onEnd(parent)
  assert.deepEqual([tail.size, kept.length], [{ traces: 0, spans: 0 }, 0])
})

test('a trace is kept from the first that tells something, with what was before and comes after; and no other', () => {
  const kept: Span[] = []
  const tail = new TailProcessor({ add: (span) => void kept.push(span) }, isTelling)
  const [early, failed, late, other] = [
    spanOf('a'),
    spanOf('a', { status: 2 }),
    spanOf('a'),
    spanOf('b'),
  ] as const
  for (const span of [early, failed, late, other]) tail.onStart(span)
  for (const span of [early, other, failed, late]) tail.onEnd(span)
  const sampled = spanOf('c', { sampled: true })
  tail.onStart(sampled)
  tail.onEnd(sampled)
  // Of a trace that was let go of, what tells something is kept all the same.
  const resumed = spanOf('d', { resumes: 1 })
  tail.onEnd(resumed)
  assert.deepEqual(kept, [early, failed, late, sampled, resumed])
  assert.deepEqual(tail.size, { traces: 0, spans: 0 })
})
