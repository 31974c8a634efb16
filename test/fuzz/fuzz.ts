import { encodeJson, FrameType } from '../../protocol/codec/frames.ts'
import { collectGarbage } from '../support/garbage.ts'
import type { Random } from '../support/seeded-random.ts'
import { FrameMaker } from './frame-maker.ts'
import type { Target } from './target.ts'

export interface FuzzResult {
  frames: number
  links: number
  /** Links by how they ended: a close code, or `lived`. */
  outcomes: Record<string, number>
  bystanderBytes: number
  heapGrowthBytes: number
  violations: string[]
  elapsedMs: number
}

/** The longest that one link is attacked, in frames. */
const MAX_FRAMES_PER_LINK = 400
const FRAMES_PER_TURN = 6
/** Links between two looks at what is left. */
const LINKS_PER_CHECK = 300
/** What a heap may have grown by when all is over. */
const MAX_HEAP_GROWTH_BYTES = 67_108_864

/** Sends `frames` random and mutated frames at a party's links; `random` is what it and the target choose by. */
export async function fuzz(
  target: Target,
  frames: number,
  random: Random,
  progress?: (sent: number) => void,
): Promise<FuzzResult> {
  await target.settle()
  const before = await target.leftovers()
  const beganMs = performance.now()
  const heapBytes = usedHeap()
  const outcomes: Record<string, number> = {}
  const corpus: Uint8Array[] = []
  const ids = [...target.bystanderIds]
  let sent = 0
  let links = 0
  const check = async (): Promise<void> => {
    await target.settle()
    const after = await target.leftovers()
    for (const [what, count] of Object.entries(after)) {
      if (count !== before[what]) target.violations.push(`${what}: ${count}, ${before[what]} before`)
    }
  }
  while (sent < frames && target.violations.length === 0) {
    links++
    const { transport, dialler, hello } = await target.dial()
    const maker = new FrameMaker(random, dialler, ids, corpus)
    let closed: string | undefined
    transport.receiver = {
      message: (frame) => maker.heard(frame),
      text: () => {},
      drained: () => {},
      closed: (code) => {
        closed = String(code)
      },
    }
    if (random.chance(0.97)) transport.send(encodeJson(FrameType.HELLO, 0, hello))
    const budget = Math.min(frames - sent, 1 + random.below(MAX_FRAMES_PER_LINK))
    for (let left = budget; left > 0 && closed === undefined; left -= FRAMES_PER_TURN) {
      for (let count = 0; count < Math.min(FRAMES_PER_TURN, left); count++, sent++)
        transport.send(maker.next())
      target.act()
      await target.pass(random.chance(0.02) ? 2_000 : 2)
    }
    outcomes[closed ?? 'lived'] = (outcomes[closed ?? 'lived'] ?? 0) + 1
    if (closed === undefined) transport.terminate()
    if (links % LINKS_PER_CHECK !== 0) continue
    await check()
    progress?.(sent)
  }
  await check()
  const heapGrowthBytes = usedHeap() - heapBytes
  if (heapGrowthBytes > MAX_HEAP_GROWTH_BYTES)
    target.violations.push(`the heap grew by ${heapGrowthBytes} bytes`)
  return {
    frames: sent,
    links,
    outcomes,
    bystanderBytes: target.bystanderBytes,
    heapGrowthBytes,
    violations: target.violations,
    elapsedMs: performance.now() - beganMs,
  }
}

function usedHeap(): number {
  collectGarbage()
  return process.memoryUsage().heapUsed
}
