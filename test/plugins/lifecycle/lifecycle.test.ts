import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DRAIN_PHASES, type Drain, Lifecycle } from '../../../plugins/lifecycle/lifecycle.ts'

const HOUR_MS = 3_600_000

function lifecycle() {
  const failures: [phase: string, error: unknown][] = []
  return { failures, lifecycle: new Lifecycle((error, phase) => void failures.push([phase, error])) }
}

/** A step that lasts until the time of the drain is over. */
const untilOver = ({ over }: Drain) =>
  new Promise<void>((resolve) => {
    if (over.aborted) resolve()
    else over.addEventListener('abort', () => resolve())
  })

test('a drain goes through its phases in their order, and each waits for all steps of the one before', async () => {
  const { lifecycle: it } = lifecycle()
  const seen: string[] = []
  for (const phase of [...DRAIN_PHASES].reverse()) {
    for (const name of ['first', 'second']) {
      it.onDrain(phase, async () => {
        seen.push(`${phase}, ${name}`)
        await new Promise(setImmediate)
        seen.push(`${phase} over`)
      })
    }
  }
  assert.equal(it.draining, false)
  const drained = it.drain(0)
  // There are turns to take first.
  assert.equal(it.draining, false)
  await drained
  assert.equal(it.draining, true)
  const ofPhase = (phase: string) => [`${phase}, second`, `${phase}, first`, `${phase} over`, `${phase} over`]
  assert.deepEqual(seen, DRAIN_PHASES.flatMap(ofPhase))
})

test('a step that throws is told, and holds up neither its phase nor the next one', async () => {
  const { lifecycle: it, failures } = lifecycle()
  const seen: string[] = []
  it.onDrain('hand over', () => {
    throw new Error('no disk')
  })
  it.onDrain('hand over', () => void seen.push('hand over'))
  it.onDrain('close', () => void seen.push('close'))
  const drained = it.drain(0)
  assert.equal(it.draining, true)
  await drained
  assert.deepEqual(seen, ['hand over', 'close'])
  assert.deepEqual(
    failures.map(([phase, error]) => [phase, (error as Error).message]),
    [['hand over', 'no disk']],
  )
})

test('a second drain hurries the first, and never puts it off', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { lifecycle: it } = lifecycle()
  let leftMs = 0
  it.onDrain('wait', (drain) => {
    leftMs = drain.leftMs
    return untilOver(drain)
  })
  const first = it.drain(1_000)
  assert.equal(it.drain(HOUR_MS), first)
  t.mock.timers.tick(1_000)
  await first
  assert.ok(leftMs > 0 && leftMs <= 1_000, `${leftMs} ms`)

  const { lifecycle: other } = lifecycle()
  other.onDrain('wait', untilOver)
  const slow = other.drain(HOUR_MS)
  await Promise.resolve()
  void other.drain(0)
  await slow
})
